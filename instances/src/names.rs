//! Names for instances that were given none.

use crate::InstanceId;

const QUALITIES: [&str; 48] = [
    "able", "amber", "ample", "apt", "bold", "brave", "brisk", "bright", "calm", "candid",
    "clear", "clever", "crisp", "deft", "eager", "early", "easy", "fair", "firm", "fond",
    "frank", "free", "fresh", "gentle", "glad", "golden", "grand", "handy", "hardy", "keen",
    "kind", "light", "lively", "loyal", "merry", "mild", "neat", "noble", "open", "plain",
    "proud", "quick", "quiet", "sharp", "steady", "sunny", "swift", "warm",
];

const THINGS: [&str; 48] = [
    "anchor", "barge", "beacon", "berth", "bow", "brig", "buoy", "cabin", "canoe", "capstan",
    "cutter", "davit", "deck", "dinghy", "dock", "ferry", "fjord", "galley", "gull", "harbour",
    "hatch", "hawser", "helm", "heron", "hull", "island", "jetty", "keel", "ketch", "lagoon",
    "lantern", "mast", "mooring", "oar", "otter", "pier", "pilot", "prow", "raft", "reef",
    "rudder", "sail", "seal", "sloop", "tern", "tide", "tiller", "wharf",
];

/// A name that is easy to say and to type, the same whenever it is asked for.
#[must_use]
pub fn generated(id: &InstanceId) -> String {
    let seed = id.seed();
    let pick = |words: &[&'static str; 48], part: u64| {
        usize::try_from(part % 48).ok().and_then(|at| words.get(at).copied()).unwrap_or("a")
    };
    format!("{}_{}", pick(&QUALITIES, seed >> 32), pick(&THINGS, seed & 0xffff_ffff))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bulkhead_runtime::SandboxId;

    #[test]
    fn a_generated_name_is_a_name_and_stays() {
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let id = InstanceId::random().unwrap();
            let name = generated(&id);
            assert!(name.parse::<SandboxId>().is_ok(), "{name}");
            assert_eq!(name, generated(&id));
            seen.insert(name);
        }
        assert!(seen.len() > 150, "{} of 200 differ", seen.len());
    }
}
