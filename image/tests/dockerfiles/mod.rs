//! The corpus: shapes of Dockerfiles that are in use, small enough to see what they
//! should come to. A line of `expected` is `file PATH CONTENT`, `mode PATH MODE`,
//! `owner PATH UID:GID`, `absent PATH`, `config KEY JSON`, `layers N`, `history N`, or
//! `error PART-OF-THE-MESSAGE` alone.

/// A Dockerfile and what it should come to.
pub struct Case {
    pub name: &'static str,
    pub files: &'static [(&'static str, &'static str)],
    pub args: &'static [(&'static str, &'static str)],
    pub target: &'static str,
    pub dockerfile: &'static str,
    pub expected: &'static [&'static str],
}

const NOTHING: Case =
    Case { name: "", files: &[], args: &[], target: "", dockerfile: "", expected: &[] };

pub const CORPUS: &[Case] = &[
    Case {
        name: "one file from scratch",
        files: &[("hello", "#!x")],
        dockerfile: "FROM scratch\nCOPY hello /\nCMD [\"/hello\"]\n",
        expected: &[
            "file /hello #!x",
            "mode /hello 755",
            "owner /hello 0:0",
            r#"config Cmd ["/hello"]"#,
            "layers 1",
            "history 2",
        ],
        ..NOTHING
    },
    Case {
        name: "a web service",
        files: &[("requirements.txt", "flask"), ("app/main.py", "run"), ("app/lib/a.py", "a")],
        dockerfile: "FROM base\nWORKDIR /srv/app\nCOPY requirements.txt ./\nCOPY app/ .\n\
            EXPOSE 8080 53/udp\nENV PORT=8080\nUSER app\nCMD python3 main.py\n",
        expected: &[
            "file /srv/app/requirements.txt flask",
            "file /srv/app/main.py run",
            "file /srv/app/lib/a.py a",
            r#"config WorkingDir "/srv/app""#,
            r#"config Cmd ["/bin/sh","-c","python3 main.py"]"#,
            r#"config User "app""#,
            r#"config Env ["PATH=/bin","FROM_BASE=yes","PORT=8080"]"#,
            "layers 4",
        ],
        ..NOTHING
    },
    Case {
        name: "stages by name, number and image",
        files: &[("src", "code")],
        dockerfile: "FROM scratch AS Build\nCOPY src /out/bin\n\nFROM base AS two\n\
            COPY --from=build /out/bin /a\nCOPY --from=0 /out /b\nCOPY --from=base /etc/group /c\n",
        expected: &[
            "file /a code",
            "file /b/bin code",
            "file /c root:x:0:\\napp:x:101:\\nweb:x:200:\\n",
        ],
        ..NOTHING
    },
    Case {
        name: "a stage that goes on from another",
        files: &[("a", "1")],
        dockerfile: "FROM base AS common\nENV A=1\nCOPY a /a\nFROM common\nENV B=$A\nCOPY a /b\n",
        expected: &[
            "file /a 1",
            "file /b 1",
            r#"config Env ["PATH=/bin","FROM_BASE=yes","A=1","B=1"]"#,
        ],
        ..NOTHING
    },
    Case {
        name: "a target in the middle, and stages nobody needs",
        target: "wanted",
        dockerfile: "FROM nowhere AS unused\nRUN fail\nFROM base AS wanted\nLABEL a=b\n\
            FROM nowhere\nRUN fail\n",
        expected: &[r#"config Labels {"a":"b"}"#, "layers 1"],
        ..NOTHING
    },
    Case {
        name: "arguments before FROM",
        dockerfile: "ARG IMAGE=base\nARG TAG=latest\nFROM ${IMAGE}:${TAG}\nARG TAG\nARG IMAGE=own\n\
            LABEL tag=$TAG image=$IMAGE none=\"$NONE\"\n",
        expected: &[r#"config Labels {"image":"own","none":"","tag":"latest"}"#],
        ..NOTHING
    },
    Case {
        name: "arguments from the command line",
        args: &[("VERSION", "2"), ("IMAGE", "base")],
        dockerfile: "ARG IMAGE\nFROM $IMAGE\nARG VERSION=1\nARG OTHER=${VERSION}x\n\
            ENV V=$VERSION O=$OTHER\nLABEL arch=$TARGETARCH\nARG TARGETARCH\nLABEL arch2=$TARGETARCH\n",
        expected: &[
            r#"config Env ["PATH=/bin","FROM_BASE=yes","V=2","O=2x"]"#,
            r#"config Labels {"arch":"","arch2":"amd64"}"#,
        ],
        ..NOTHING
    },
    Case {
        name: "the environment goes before arguments",
        args: &[("A", "argument")],
        dockerfile: "FROM base\nARG A\nENV A=env\nARG A\nLABEL a=$A\n",
        expected: &[r#"config Labels {"a":"env"}"#],
        ..NOTHING
    },
    Case {
        name: "quoting",
        dockerfile: "FROM base\nENV A=\"a b\" B='$A' C=c\\ d D=\"\\\"q\\\"\" E=\"x$FROM_BASE\"\n\
            ENV OLD form with  spaces\nLABEL \"com.example.a b\"=\"multi\\\n word\" v='\"'\n",
        expected: &[
            r#"config Env ["PATH=/bin","FROM_BASE=yes","A=a b","B=$A","C=c d","D=\"q\"","E=xyes","OLD=form with  spaces"]"#,
            r#"config Labels {"com.example.a b":"multi word","v":"\""}"#,
        ],
        ..NOTHING
    },
    Case {
        name: "variables of one ENV see what was before it",
        dockerfile: "FROM base\nENV abc=hello\nENV abc=bye def=$abc\nENV ghi=$abc\n",
        expected: &[
            r#"config Env ["PATH=/bin","FROM_BASE=yes","abc=bye","def=hello","ghi=bye"]"#,
        ],
        ..NOTHING
    },
    Case {
        name: "defaults and alternatives",
        dockerfile: "FROM base\nENV E=\nENV A=${NONE:-d} B=${E:-d} C=${E-d} D=${FROM_BASE:+set} \
            F=${NONE:+set} G=\\$FROM_BASE\n",
        expected: &[
            r#"config Env ["PATH=/bin","FROM_BASE=yes","E=","A=d","B=d","C=","D=set","F=","G=$FROM_BASE"]"#,
        ],
        ..NOTHING
    },
    Case {
        name: "variables in every place",
        files: &[("one/f", "1")],
        dockerfile: "FROM base\nENV D=/dir S=one P=80 U=app SIG=SIGINT\nWORKDIR $D/${S}\nCOPY $S/f ./g\n\
            EXPOSE ${P}\nUSER ${U}\nVOLUME $D/v\nSTOPSIGNAL $SIG\nLABEL $S=$P\n",
        expected: &[
            "file /dir/one/g 1",
            r#"config ExposedPorts {"80/tcp":{}}"#,
            r#"config User "app""#,
            r#"config Volumes {"/dir/v":{}}"#,
            r#"config StopSignal "SIGINT""#,
            r#"config Labels {"one":"80"}"#,
        ],
        ..NOTHING
    },
    Case {
        name: "commands keep their variables",
        dockerfile: "FROM base\nENTRYPOINT [\"sh\", \"-c\", \"echo $HOME\"]\nCMD echo \"$A\"\n",
        expected: &[
            r#"config Entrypoint ["sh","-c","echo $HOME"]"#,
            r#"config Cmd ["/bin/sh","-c","echo \"$A\""]"#,
        ],
        ..NOTHING
    },
    Case {
        name: "an entrypoint drops the command of the base image",
        dockerfile: "FROM base\nENTRYPOINT [\"e\"]\n",
        expected: &[r#"config Entrypoint ["e"]"#, "config Cmd null"],
        ..NOTHING
    },
    Case {
        name: "files of here-documents",
        dockerfile: "FROM base\nENV A=value\nCOPY <<one <<\"two\" /d/\na=$A\none\na=$A\ntwo\n\
            COPY --chmod=600 <<-EOF /etc/conf\n\tindented\n\tEOF\n",
        expected: &[
            "file /d/one a=value\\n",
            "file /d/two a=$A\\n",
            "file /etc/conf indented\\n",
            "mode /etc/conf 600",
        ],
        ..NOTHING
    },
    Case {
        name: "owners by name and number",
        files: &[("f", "1"), ("d/e", "1")],
        dockerfile: "FROM base\nCOPY --chown=app f /a\nCOPY --chown=app:web f /b\n\
            COPY --chown=7:8 d /new/c\nCOPY --chown=9 f /d\nCOPY f /e\n",
        expected: &[
            "owner /a 100:101",
            "owner /b 100:200",
            "owner /new 7:8",
            "owner /new/c 7:8",
            "owner /new/c/e 7:8",
            "owner /d 9:9",
            "owner /e 0:0",
        ],
        ..NOTHING
    },
    Case {
        name: "an owner nobody knows",
        files: &[("f", "1")],
        dockerfile: "FROM base\n\nCOPY --chown=nobody f /a\n",
        expected: &["error Dockerfile:3:1: COPY --chown=nobody f /a: user `nobody`"],
        ..NOTHING
    },
    Case {
        name: "owners of another stage stay",
        files: &[("f", "1")],
        dockerfile: "FROM base AS one\nCOPY --chown=app f /x/f\nFROM base\nCOPY --from=one /x /y\n\
            COPY --from=one --chown=0:0 --chmod=0700 /x/f /z\n",
        expected: &["owner /y/f 100:101", "owner /z 0:0", "mode /z 700"],
        ..NOTHING
    },
    Case {
        name: "patterns of names",
        files: &[
            ("a.py", "1"),
            ("b.py", "2"),
            ("c.txt", "3"),
            ("sub/d.py", "4"),
            ("[x].py", "5"),
        ],
        dockerfile: "FROM scratch\nCOPY *.py /all/\nCOPY ?.txt /one\nCOPY sub/*.p[xy] /sub/\n\
            COPY \"\\[x\\].py\" /x\n",
        expected: &[
            "file /all/a.py 1",
            "file /all/b.py 2",
            "file /one 3",
            "file /sub/d.py 4",
            "absent /all/c.txt",
            "absent /all/d.py",
            "file /x 5",
        ],
        ..NOTHING
    },
    Case {
        name: "names with spaces",
        files: &[("a b", "1")],
        dockerfile: "FROM scratch\nCOPY [\"a b\", \"/c d/\"]\n",
        expected: &["layers 1"],
        ..NOTHING
    },
    Case {
        name: "what is ignored",
        files: &[
            (
                ".dockerignore",
                "# notes\n*.md\n!README.md\nnode_modules\n**/*.log\nsecret/*\n!secret/ok\n",
            ),
            ("README.md", "1"),
            ("other.md", "1"),
            ("sub/deep.md", "1"),
            ("node_modules/x/y", "1"),
            ("a/b/c.log", "1"),
            ("a/b/c", "1"),
            ("secret/key", "1"),
            ("secret/ok", "1"),
        ],
        dockerfile: "FROM scratch\nCOPY . /w\n",
        expected: &[
            "file /w/README.md 1",
            "absent /w/other.md",
            "file /w/sub/deep.md 1",
            "absent /w/node_modules",
            "absent /w/a/b/c.log",
            "file /w/a/b/c 1",
            "absent /w/secret/key",
            "file /w/secret/ok 1",
        ],
        ..NOTHING
    },
    Case {
        name: "everything is ignored but",
        files: &[
            (".dockerignore", "*\n!src\n!go.*\nsrc/**/*_test.go\n"),
            ("src/a/b.go", "1"),
            ("src/a/b_test.go", "1"),
            ("go.mod", "1"),
            (".git/config", "1"),
        ],
        dockerfile: "FROM scratch\nCOPY . /w/\n",
        expected: &[
            "file /w/src/a/b.go 1",
            "absent /w/src/a/b_test.go",
            "file /w/go.mod 1",
            "absent /w/.git",
            "absent /w/Dockerfile",
        ],
        ..NOTHING
    },
    Case {
        name: "an ignored file is not there",
        files: &[(".dockerignore", "a"), ("a", "1")],
        dockerfile: "FROM scratch\nCOPY a /\n",
        expected: &["error `a` is not there: .dockerignore leaves it out"],
        ..NOTHING
    },
    Case {
        name: "links in the image are followed where files go",
        files: &[("libx.so", "x"), ("tree/lib/liby.so", "y")],
        dockerfile: "FROM base\nCOPY libx.so /lib/\nCOPY tree /\nWORKDIR /lib/sub\n",
        expected: &[
            "file /lib -> usr/lib",
            "file /usr/lib/libx.so x",
            "file /usr/lib/liby.so y",
            "file /usr/lib/sub /",
            "absent /lib/libx.so",
        ],
        ..NOTHING
    },
    Case {
        name: "links in the context",
        files: &[
            ("real/f", "1"),
            ("link", "-> real/f"),
            ("dir", "-> real"),
            ("tree/l", "-> nowhere"),
        ],
        dockerfile: "FROM scratch\nCOPY link /a\nCOPY dir /b\nCOPY tree /c\n",
        expected: &["file /a 1", "file /b/f 1", "file /c/l -> nowhere"],
        ..NOTHING
    },
    Case {
        name: "links do not lead out of the context",
        files: &[("link", "-> /etc/passwd")],
        dockerfile: "FROM scratch\nCOPY link /a\n",
        expected: &["error a symlink leads out of the build context"],
        ..NOTHING
    },
    Case {
        name: "dots do not lead out of the context",
        files: &[("f", "1")],
        dockerfile: "FROM scratch\nCOPY ../../f /a\n",
        expected: &["file /a 1"],
        ..NOTHING
    },
    Case {
        name: "what is there keeps its mode",
        files: &[("new", "new")],
        dockerfile: "FROM base\nCOPY new /opt/\n",
        expected: &["mode /opt 700", "file /opt/old old", "file /opt/new new"],
        ..NOTHING
    },
    Case {
        name: "several files need a directory",
        files: &[("a", "1"), ("b", "1")],
        dockerfile: "FROM scratch\nCOPY a b /c\n",
        expected: &["error which is no directory"],
        ..NOTHING
    },
    Case {
        name: "working directories add up",
        dockerfile: "FROM base\nWORKDIR /a\nWORKDIR b\nWORKDIR ../c/./d\n",
        expected: &[r#"config WorkingDir "/a/c/d""#, "file /a/c/d /", "layers 4"],
        ..NOTHING
    },
    Case {
        name: "a working directory that is there makes no layer",
        dockerfile: "FROM base\nWORKDIR /opt\n",
        expected: &["layers 1", r#"config WorkingDir "/opt""#],
        ..NOTHING
    },
    Case {
        name: "health, shell, volumes, signals",
        dockerfile: "FROM base\nHEALTHCHECK --interval=1m30s --timeout=3s --retries=2 CMD curl -f x || exit 1\n\
            SHELL [\"/bin/bash\", \"-o\", \"pipefail\", \"-c\"]\nCMD a | b\nVOLUME [\"/data\", \"/log\"]\n\
            VOLUME /x /y\nSTOPSIGNAL SIGQUIT\nMAINTAINER somebody\n",
        expected: &[
            r#"config Cmd ["/bin/bash","-o","pipefail","-c","a | b"]"#,
            r#"config Volumes {"/data":{},"/log":{},"/x":{},"/y":{}}"#,
            r#"config StopSignal "SIGQUIT""#,
        ],
        ..NOTHING
    },
    Case {
        name: "comments, blank lines and continuations",
        files: &[("a", "1")],
        dockerfile: "# syntax=docker/dockerfile:1\n\n# a comment\nFROM base\n\nENV A=1 \\\n    # in between\n\
            \n    B=2 \\\n    C=3\n  COPY a \\\n  /a\n#end",
        expected: &[
            r#"config Env ["PATH=/bin","FROM_BASE=yes","A=1","B=2","C=3"]"#,
            "file /a 1",
        ],
        ..NOTHING
    },
    Case {
        name: "another escape",
        files: &[("a", "1")],
        dockerfile: "# escape=`\nFROM base\nCOPY a `\n  /b\nENV P=C:\\x\n",
        expected: &["file /b 1", r#"config Env ["PATH=/bin","FROM_BASE=yes","P=C:\\x"]"#],
        ..NOTHING
    },
    Case {
        name: "lower case and Windows line ends",
        files: &[("a", "1")],
        dockerfile: "from base\r\ncopy a /a\r\nenv A=1\r\ncmd [\"x\"]\r\n",
        expected: &["file /a 1", r#"config Cmd ["x"]"#],
        ..NOTHING
    },
    Case {
        name: "another platform",
        dockerfile: "FROM --platform=linux/arm64 base\n",
        expected: &[
            "error Dockerfile:1:1: FROM --platform=linux/arm64 base: images can be built for",
        ],
        ..NOTHING
    },
    Case {
        name: "this platform",
        dockerfile: "FROM --platform=$BUILDPLATFORM base\nLABEL a=b\n",
        expected: &[r#"config Labels {"a":"b"}"#],
        ..NOTHING
    },
    Case {
        name: "what is not supported is refused",
        dockerfile: "FROM base\nRUN --mount=type=cache,target=/c x\n",
        expected: &[
            "error Dockerfile:2:1: RUN --mount=type=cache,target=/c x: RUN --mount is not supported",
        ],
        ..NOTHING
    },
    Case {
        name: "a stage that comes later",
        dockerfile: "FROM base\nCOPY --from=later /a /b\nFROM base AS later\n",
        target: "0",
        expected: &["error `later` is not a stage before this one"],
        ..NOTHING
    },
    Case {
        name: "a mistake says where",
        dockerfile: "FROM base\nENV A=1\n\n   FRMO x\n",
        expected: &["error Dockerfile:4:4: unknown instruction 'FRMO'"],
        ..NOTHING
    },
];
