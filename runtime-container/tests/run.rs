//! A container's life, from outside and from inside.

mod common;

use common::Host;

#[test]
#[cfg_attr(not(can_sandbox), ignore = "needs root")]
fn a_workload_runs_and_its_output_and_exit_code_arrive() {
    let host = Host::new();
    assert_eq!(host.says("echo $GREETING; cat /etc/marker"), "hello\nfrom the layer\n");
    for code in [0, 7, 255] {
        let ran = host.run(&host.script(&format!("exit {code}"))).unwrap();
        assert_eq!(ran.exit.code(), code);
    }
}
