use super::*;
use crate::{Lifetime, Record};
use oci_spec::runtime::{LinuxBuilder, LinuxNamespaceType, ProcessBuilder, Spec, SpecBuilder};

fn bundle() -> Bundle {
    let spec = SpecBuilder::default().hostname("a").build().unwrap();
    Bundle { spec, rootfs: Rootfs::Layers(vec!["/top".into(), "/base".into()]) }
}

fn key(bundle: &Bundle) -> PoolKey {
    PoolKey::of(Isolation::Container, bundle, "").unwrap()
}

fn with(change: impl FnOnce(&mut Spec)) -> PoolKey {
    let mut bundle = bundle();
    change(&mut bundle.spec);
    key(&bundle)
}

/// A prepared sandbox, whose keeper is the directory returned.
fn prepare(pool: &Pool, name: &str, key: &PoolKey) -> StateDir {
    let id: SandboxId = name.parse().unwrap();
    let passage = pool.enter().unwrap();
    let record = Record::creating(&id, Isolation::Container, Lifetime::Attached);
    let dir = StateDir::create(&pool.root, &record).unwrap();
    Pool::mark(&passage, &dir, key).unwrap();
    pool.offer(&passage, key, &Offer::now(&id, Isolation::Container, "image")).unwrap();
    dir
}

fn abandoned(pool: &Pool) -> Vec<String> {
    let found = state::abandoned(&pool.root).unwrap();
    found.into_iter().map(|(id, _)| id.to_string()).collect()
}

#[test]
fn what_the_process_brings_along_is_not_in_the_key() {
    let process = || ProcessBuilder::default().args(vec!["x".to_owned()]).build().unwrap();
    let known = key(&bundle());
    assert_eq!(
        with(|spec| {
            spec.set_process(Some(process()));
        }),
        known
    );
    assert_eq!(
        with(|spec| {
            spec.set_hostname(Some("b".to_owned()));
        }),
        known
    );
    assert_ne!(PoolKey::of(Isolation::MicroVm, &bundle(), "").unwrap(), known);
    assert_ne!(PoolKey::of(Isolation::Container, &bundle(), "made otherwise").unwrap(), known);
}

#[test]
fn what_is_fixed_ahead_is_in_the_key() {
    let known = key(&bundle());
    let masked = LinuxBuilder::default().masked_paths(vec!["/proc/x".to_owned()]);
    assert_ne!(
        with(|spec| {
            spec.set_linux(Some(masked.build().unwrap()));
        }),
        known
    );
    assert_ne!(
        with(|spec| {
            spec.set_mounts(None);
        }),
        known
    );
    let namespaces = |spec: &mut Spec| {
        let linux = spec.linux_mut().as_mut().unwrap();
        let list = linux.namespaces_mut().as_mut().unwrap();
        list.retain(|namespace| namespace.typ() != LinuxNamespaceType::Network);
    };
    assert_ne!(with(namespaces), known);
    for layers in [vec!["/base", "/top"], vec!["/top/base"], vec!["/top"]] {
        let layers = layers.into_iter().map(PathBuf::from).collect();
        let other = Bundle { rootfs: Rootfs::Layers(layers), ..bundle() };
        assert_ne!(key(&other), known, "{other:?}");
    }
}

#[test]
fn a_prepared_sandbox_is_taken_once_and_then_owned() {
    let root = tempfile::tempdir().unwrap();
    let (pool, key) = (Pool::at(root.path()), key(&bundle()));
    assert!(pool.claim(&key).unwrap().is_none());
    let mut keeper = prepare(&pool, "one", &key);
    assert_eq!((pool.count(&key).unwrap(), pool.list().unwrap().len()), (1, 1));
    assert!(abandoned(&pool).is_empty());

    let claim = pool.claim(&key).unwrap().unwrap();
    assert_eq!(claim.id().as_str(), "one");
    assert!(pool.claim(&key).unwrap().is_none(), "it is taken");
    let mut dir = claim.open().unwrap();
    let lock = keeper.lock().unwrap().try_clone().unwrap();
    keeper.hand_over();
    claim.take_over(&mut dir, lock).unwrap();
    assert!(abandoned(&pool).is_empty());
    assert!(!root.path().join(OFFERS).exists(), "the last one is gone");
    drop(dir);
    assert_eq!(abandoned(&pool), ["one"]);
}

#[test]
fn only_what_fits_is_taken() {
    let root = tempfile::tempdir().unwrap();
    let pool = Pool::at(root.path());
    let other = with(|spec| {
        spec.set_mounts(None);
    });
    let _keeper = prepare(&pool, "one", &key(&bundle()));
    assert!(pool.claim(&other).unwrap().is_none());
    assert_eq!(pool.list().unwrap()[0].image, "image");
}

#[test]
fn many_takers_never_take_the_same() {
    const COUNT: usize = 24;
    let root = tempfile::tempdir().unwrap();
    let (pool, key) = (Pool::at(root.path()), key(&bundle()));
    let _keepers: Vec<_> = (0..COUNT).map(|n| prepare(&pool, &format!("s{n}"), &key)).collect();
    let take_all = || {
        let mut taken = Vec::new();
        while let Some(claim) = pool.claim(&key).unwrap() {
            taken.push(claim.id().clone());
        }
        taken
    };
    let mut taken: Vec<SandboxId> = std::thread::scope(|scope| {
        let takers: Vec<_> = (0..4).map(|_| scope.spawn(take_all)).collect();
        takers.into_iter().flat_map(|taker| taker.join().unwrap()).collect()
    });
    assert_eq!(taken.len(), COUNT);
    taken.sort();
    taken.dedup();
    assert_eq!(taken.len(), COUNT);
}

#[test]
fn one_without_its_keeper_is_passed_over_and_collected() {
    let root = tempfile::tempdir().unwrap();
    let (pool, key) = (Pool::at(root.path()), key(&bundle()));
    drop(prepare(&pool, "lost", &key));
    let _keeper = prepare(&pool, "kept", &key);
    assert_eq!(abandoned(&pool), ["lost"]);
    assert_eq!(pool.count(&key).unwrap(), 1);
    assert_eq!(pool.claim(&key).unwrap().unwrap().id().as_str(), "kept");
    assert!(pool.claim(&key).unwrap().is_none());
}

#[test]
fn one_that_was_being_taken_by_who_died_is_collected() {
    let root = tempfile::tempdir().unwrap();
    let (pool, key) = (Pool::at(root.path()), key(&bundle()));
    let _keeper = prepare(&pool, "one", &key);
    drop(pool.claim(&key).unwrap());
    // Its keeper lives, but nobody will ever take it.
    assert_eq!(abandoned(&pool), ["one"]);
}

#[test]
fn a_particular_one_is_withdrawn_and_what_is_stale_is_swept() {
    let root = tempfile::tempdir().unwrap();
    let (pool, key) = (Pool::at(root.path()), key(&bundle()));
    let keeper = prepare(&pool, "one", &key);
    let id = "one".parse().unwrap();
    assert!(pool.claim_this(&"other".parse().unwrap()).unwrap().is_none());
    drop(pool.claim_this(&id).unwrap().unwrap());
    assert!(pool.claim_this(&id).unwrap().is_none());
    keeper.remove().unwrap();
    drop(prepare(&pool, "lost", &key));
    for _ in 0..2 {
        pool.sweep().unwrap();
        assert!(!root.path().join(OFFERS).exists());
        // As one who died between two directories leaves it.
        fs::create_dir(root.path().join(OFFERS)).unwrap();
    }
}
