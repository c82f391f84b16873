//! Answers to questions for names: those of members from the lease file, others elsewhere.

use std::net::Ipv4Addr;

use simple_dns::rdata::{A, PTR, RData};
use simple_dns::{
    CLASS, Name, OPCODE, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, ResourceRecord,
    TYPE,
};

use crate::state::NetworkState;

/// How long an answer may be remembered, seconds: members come and go.
const TTL: u32 = 0;

/// What becomes of a question.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It is none.
    Ignore,
    /// This is said.
    Say(Vec<u8>),
    /// It is about names of others.
    Elsewhere,
}

/// What the network itself says to a message.
pub(super) fn answer(message: &[u8], state: &NetworkState) -> Answer {
    let Ok(query) = Packet::parse(message) else { return refused(message, RCODE::FormatError) };
    if query.has_flags(PacketFlag::RESPONSE) {
        return Answer::Ignore;
    }
    if query.opcode() != OPCODE::StandardQuery {
        return refused(message, RCODE::NotImplemented);
    }
    let [question] = query.questions.as_slice() else {
        return refused(message, RCODE::FormatError);
    };
    if !matches!(question.qclass, QCLASS::CLASS(CLASS::IN) | QCLASS::ANY) {
        return Answer::Elsewhere;
    }
    let name = question.qname.to_string().to_lowercase();
    if let Some(address) = reverse(&name) {
        if !state.subnet().contains(&address) {
            return Answer::Elsewhere;
        }
        return say(&query, question, &pointers(address, state));
    }
    let addresses = addresses(&name, state);
    if !addresses.is_empty() {
        return say(&query, question, &Some(addresses));
    }
    // A name without a dot is nobody's elsewhere: it is not told to others.
    if !name.is_empty() && !name.contains('.') {
        return say(&query, question, &None::<Vec<Ipv4Addr>>);
    }
    Answer::Elsewhere
}

/// The addresses of those called `name`.
fn addresses(name: &str, state: &NetworkState) -> Vec<Ipv4Addr> {
    let is_called = |id: &str, aliases: &std::collections::BTreeSet<String>| {
        id.eq_ignore_ascii_case(name) || aliases.contains(name)
    };
    let members = state.members.iter();
    let found = members.filter(|member| is_called(member.id.as_str(), &member.aliases));
    found.map(|member| member.address).collect()
}

/// The address that is asked for in reverse (RFC 1035, 3.5).
fn reverse(name: &str) -> Option<Ipv4Addr> {
    let mut bytes = name.strip_suffix(".in-addr.arpa")?.split('.').rev();
    let mut octets = [0; 4];
    for octet in &mut octets {
        *octet = bytes.next()?.parse().ok()?;
    }
    bytes.next().is_none().then(|| octets.into())
}

/// Who has an address.
fn pointers(address: Ipv4Addr, state: &NetworkState) -> Option<Vec<String>> {
    let found = state.members.iter().find(|member| member.address == address);
    found.map(|member| vec![member.id.to_string()])
}

/// Something that is known of a name.
trait Record {
    /// The type of question it answers.
    const TYPE: TYPE;

    fn data(&self) -> Option<RData<'_>>;
}

impl Record for Ipv4Addr {
    const TYPE: TYPE = TYPE::A;

    fn data(&self) -> Option<RData<'_>> {
        Some(RData::A(A::from(*self)))
    }
}

impl Record for String {
    const TYPE: TYPE = TYPE::PTR;

    fn data(&self) -> Option<RData<'_>> {
        Some(RData::PTR(PTR(Name::new(self).ok()?)))
    }
}

/// The reply with what is known; none when there is no such name.
fn say<R: Record>(
    query: &Packet<'_>,
    question: &Question<'_>,
    known: &Option<Vec<R>>,
) -> Answer {
    let mut reply = Packet::new_reply(query.id());
    reply.set_flags(PacketFlag::AUTHORITATIVE_ANSWER | PacketFlag::RECURSION_AVAILABLE);
    if query.has_flags(PacketFlag::RECURSION_DESIRED) {
        reply.set_flags(PacketFlag::RECURSION_DESIRED);
    }
    reply.questions.push(question.clone());
    match known {
        None => *reply.rcode_mut() = RCODE::NameError,
        Some(records) => {
            let asked =
                matches!(question.qtype, QTYPE::ANY) || question.qtype == QTYPE::TYPE(R::TYPE);
            let data = records.iter().filter(|_| asked).filter_map(Record::data);
            let name = &question.qname;
            reply.answers.extend(
                data.map(|data| ResourceRecord::new(name.clone(), CLASS::IN, TTL, data)),
            );
        }
    }
    // A name that was parsed can be written again.
    reply.build_bytes_vec_compressed().map_or(Answer::Ignore, Answer::Say)
}

/// The reply to a question that is not answered, made of its header alone.
fn refused(message: &[u8], code: RCODE) -> Answer {
    failure(message, code).map_or(Answer::Ignore, Answer::Say)
}

/// A reply without an answer; none when `message` is no question.
pub(super) fn failure(message: &[u8], code: RCODE) -> Option<Vec<u8>> {
    let &[id_high, id_low, flags, ..] = message.get(..12)? else { return None };
    // The first bit of the flags says that it is a reply (RFC 1035, 4.1.1).
    if flags & 0x80 != 0 {
        return None;
    }
    let mut reply = Packet::new_reply(u16::from_be_bytes([id_high, id_low]));
    reply.set_flags(PacketFlag::RECURSION_AVAILABLE);
    *reply.rcode_mut() = code;
    let parsed = Packet::parse(message).ok();
    reply.questions.extend(parsed.into_iter().flat_map(|query| query.questions));
    reply.build_bytes_vec().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Definition, Kind, MacAddress, Member};
    use proptest::prelude::*;

    fn state() -> NetworkState {
        let definition =
            Definition::new("test", "10.90.0.0/24".parse().unwrap(), None).unwrap();
        let member = |id: &str, last: u8, alias: &str| {
            let address = Ipv4Addr::new(10, 90, 0, last);
            Member {
                id: id.parse().unwrap(),
                aliases: [alias.to_owned()].into(),
                address,
                mac: MacAddress::of(address),
                kind: Kind::Tap,
                owner: 1,
                dns: Vec::new(),
                ports: Vec::new(),
            }
        };
        NetworkState {
            last: definition.gateway,
            definition,
            bridge: "bulkhead0".into(),
            mtu: 1500,
            members: vec![member("Web", 2, "pool"), member("db", 3, "pool")],
        }
    }

    fn query(name: &str, kind: TYPE) -> Vec<u8> {
        let mut query = Packet::new_query(7);
        query.set_flags(PacketFlag::RECURSION_DESIRED);
        let name = Name::new(name).unwrap();
        query.questions.push(Question::new(
            name,
            QTYPE::TYPE(kind),
            QCLASS::CLASS(CLASS::IN),
            false,
        ));
        query.build_bytes_vec().unwrap()
    }

    /// The code and what is said, as text.
    fn ask(name: &str, kind: TYPE) -> (RCODE, Vec<String>) {
        let Answer::Say(reply) = answer(&query(name, kind), &state()) else {
            panic!("{name} is not answered")
        };
        let reply = Packet::parse(&reply).unwrap();
        assert_eq!((reply.id(), reply.questions.len()), (7, 1));
        let said = reply.answers.iter().map(|record| match &record.rdata {
            RData::A(a) => Ipv4Addr::from(a.address).to_string(),
            RData::PTR(name) => name.0.to_string(),
            other => format!("{other:?}"),
        });
        (reply.rcode(), said.collect())
    }

    #[test]
    fn members_are_found_by_name_alias_and_address() {
        let ok = |said: &[&str]| {
            (RCODE::NoError, said.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(ask("web", TYPE::A), ok(&["10.90.0.2"]));
        assert_eq!(ask("WEB", TYPE::A), ok(&["10.90.0.2"]));
        assert_eq!(ask("pool", TYPE::A), ok(&["10.90.0.2", "10.90.0.3"]));
        assert_eq!(ask("db", TYPE::AAAA), ok(&[]), "the name is there, without IPv6");
        assert_eq!(ask("3.0.90.10.in-addr.arpa", TYPE::PTR), ok(&["db"]));
    }

    #[test]
    fn names_of_nobody_stay_here_and_names_of_others_do_not() {
        assert_eq!(ask("nobody", TYPE::A).0, RCODE::NameError);
        assert_eq!(ask("9.0.90.10.in-addr.arpa", TYPE::PTR).0, RCODE::NameError);
        for other in ["example.org", "web.example", "1.1.1.1.in-addr.arpa"] {
            assert_eq!(answer(&query(other, TYPE::A), &state()), Answer::Elsewhere, "{other}");
        }
    }

    #[test]
    fn what_is_no_question_gets_no_answer() {
        assert_eq!(answer(b"", &state()), Answer::Ignore);
        let Answer::Say(reply) = answer(&query("web", TYPE::A), &state()) else { panic!() };
        assert_eq!(answer(&reply, &state()), Answer::Ignore, "replies are not replied to");
        let mut two = query("web", TYPE::A);
        two[5] = 2;
        let Answer::Say(reply) = answer(&two, &state()) else { panic!() };
        assert_eq!(reply[3] & 0xf, 1, "a format error");
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = answer(&bytes, &state());
        }

        #[test]
        fn any_damage_is_survived(at in 0_usize..29, byte in any::<u8>()) {
            let mut question = query("web", TYPE::A);
            if let Some(place) = question.get_mut(at) {
                *place = byte;
            }
            let _ = answer(&question, &state());
        }
    }
}
