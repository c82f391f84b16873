//! Limits of disks, on both versions.

use std::collections::BTreeMap;

use oci_spec::runtime::{LinuxBlockIo, LinuxThrottleDevice};

/// One value to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Value {
    pub field: &'static str,
    pub file: &'static str,
    pub value: String,
}

const WEIGHT: &str = "linux.resources.blockIO.weight";
const THROTTLE: &str = "linux.resources.blockIO.throttle";

/// The four rates of a device: their names on version 2, and files on version 1.
type Rate<'a> = (&'static str, &'static str, &'a Option<Vec<LinuxThrottleDevice>>);

fn rates(limits: &LinuxBlockIo) -> [Rate<'_>; 4] {
    [
        ("rbps", "blkio.throttle.read_bps_device", limits.throttle_read_bps_device()),
        ("wbps", "blkio.throttle.write_bps_device", limits.throttle_write_bps_device()),
        ("riops", "blkio.throttle.read_iops_device", limits.throttle_read_iops_device()),
        ("wiops", "blkio.throttle.write_iops_device", limits.throttle_write_iops_device()),
    ]
}

/// What to write on version 1 (Documentation/admin-guide/cgroup-v1/blkio-controller.rst).
pub(super) fn v1(limits: &LinuxBlockIo) -> Vec<Value> {
    let weight = limits.weight().map(|weight| Value {
        field: WEIGHT,
        file: "blkio.bfq.weight",
        value: weight.to_string(),
    });
    let rates = rates(limits).into_iter().flat_map(|(_, file, devices)| {
        devices.iter().flatten().map(move |device| Value {
            field: THROTTLE,
            file,
            value: format!("{}:{} {}", device.major(), device.minor(), device.rate()),
        })
    });
    weight.into_iter().chain(rates).collect()
}

/// What to write on version 2 (Documentation/admin-guide/cgroup-v2.rst, "IO").
pub(super) fn v2(limits: &LinuxBlockIo) -> Vec<Value> {
    let weight = limits.weight().map(|weight| Value {
        field: WEIGHT,
        file: "io.bfq.weight",
        value: weight.to_string(),
    });
    let mut devices: BTreeMap<(i64, i64), String> = BTreeMap::new();
    for (name, _, list) in rates(limits) {
        for device in list.iter().flatten() {
            let line = devices.entry((device.major(), device.minor())).or_default();
            line.push_str(&format!(" {name}={}", device.rate()));
        }
    }
    let rates = devices.into_iter().map(|((major, minor), rates)| Value {
        field: THROTTLE,
        file: "io.max",
        value: format!("{major}:{minor}{rates}"),
    });
    weight.into_iter().chain(rates).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::{LinuxBlockIoBuilder, LinuxThrottleDeviceBuilder};

    fn limits() -> LinuxBlockIo {
        let device = |rate: u64| {
            let device = LinuxThrottleDeviceBuilder::default().major(8).minor(16);
            vec![device.rate(rate).build().unwrap()]
        };
        LinuxBlockIoBuilder::default()
            .weight(500_u16)
            .throttle_read_bps_device(device(1024))
            .throttle_write_iops_device(device(7))
            .build()
            .unwrap()
    }

    fn written(values: Vec<Value>) -> Vec<(&'static str, String)> {
        values.into_iter().map(|value| (value.file, value.value)).collect()
    }

    #[test]
    fn limits_are_translated_for_both_versions() {
        assert_eq!(
            written(v1(&limits())),
            [
                ("blkio.bfq.weight", "500".to_owned()),
                ("blkio.throttle.read_bps_device", "8:16 1024".to_owned()),
                ("blkio.throttle.write_iops_device", "8:16 7".to_owned()),
            ]
        );
        assert_eq!(
            written(v2(&limits())),
            [
                ("io.bfq.weight", "500".to_owned()),
                ("io.max", "8:16 rbps=1024 wiops=7".to_owned()),
            ]
        );
    }
}
