//! Files of certificates.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::UNIX_EPOCH;

use super::cluster_test::{DAY, files, tls};
use super::testing::TestExchange;
use super::*;

/// Goal: keys are their owner's alone, and nothing is overwritten.
#[test]
fn keys_are_private_and_nothing_is_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let pki = directory.path().join("pki");
    let made = files(&pki, "a");
    let mode = |file| fs::metadata(file).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&pki), mode(&made.key), mode(&pki.join("ca.key"))), (0o700, 0o600, 0o600));

    let before = fs::read(&made.key).unwrap();
    let authority = CertificateAuthority::open(&pki).unwrap();
    let now = UNIX_EPOCH.elapsed().unwrap();
    let again = authority.issue(&"a".parse().unwrap(), &[], now, DAY).unwrap_err();
    assert!(matches!(again, CertError::Exists(_)), "{again}");
    assert!(matches!(CertificateAuthority::create(&pki, now, DAY).unwrap_err(), CertError::Exists(_)));
    fs::remove_file(&made.certificate).unwrap();
    assert!(authority.issue(&"a".parse().unwrap(), &[], now, DAY).is_err());
    assert_eq!(fs::read(&made.key).unwrap(), before);
}

/// Goal: whoever cannot use the files is told which one, and what to do.
#[test]
fn errors_name_the_file_and_the_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let good = files(directory.path(), "a");
    let other = files(directory.path(), "b");
    let error = |files| {
        let exchange = Arc::new(TestExchange::default());
        ClusterCarrier::new(tls("a", files), Seed::new(1), exchange).unwrap_err().to_string()
    };
    let missing = error(TlsFiles { ca: directory.path().join("none.pem"), ..good.clone() });
    assert!(missing.contains("none.pem") && missing.contains("nexus cert"), "{missing}");
    let empty = error(TlsFiles { certificate: good.key.clone(), ..good.clone() });
    assert!(empty.contains("a.key") && empty.contains("holds no certificate"), "{empty}");
    let pair = error(TlsFiles { key: other.key, ..good });
    assert!(pair.contains("do not fit together") && pair.contains("b.key"), "{pair}");
}

/// Goal: settings that cannot be are named with their range, and the cookie is never shown.
#[test]
fn settings_are_checked() {
    use super::testing::config;
    let error = |config: ClusterConfig| config.validate().unwrap_err().to_string();
    assert!(error(ClusterConfig { cookie: Cookie::new("short"), ..config("a") }).contains("at least 16"));
    let mut one = config("a");
    one.timing.idle = one.timing.heartbeat;
    assert!(error(one).contains("three times"));
    let mut one = config("a");
    one.limits.frame_bytes_max = 1 << 24;
    assert!(error(one).contains("limits.frame_bytes_max is 16777216, 1024 to 16777215"));
    assert!(!format!("{:?}", config("a")).contains("0123456789abcdef"));
}
