//! What is refused, and in which words.

use std::fs;

use super::support::manifest;
use crate::ai::{Error, Models, manifest::Manifest};

#[test]
fn a_file_with_another_hash_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("manifest.toml"), manifest("1")).unwrap();
    fs::write(dir.path().join("i.onnx"), b"not what was meant").unwrap();
    let error = Models::load(dir.path()).err().unwrap();
    assert!(matches!(error, Error::WrongHash { .. }));
    assert!(error.to_string().contains("i.onnx: its sha256 is ") && error.to_string().ends_with("the manifest says 00: refused"));
}

#[test]
fn a_missing_file_is_told_by_its_path() {
    let dir = tempfile::tempdir().unwrap();
    assert!(Models::load(dir.path()).err().unwrap().to_string().contains("manifest.toml"));
    fs::write(dir.path().join("manifest.toml"), manifest("1")).unwrap();
    assert!(Models::load(dir.path()).err().unwrap().to_string().contains("i.onnx"));
}

#[test]
fn a_manifest_that_does_not_say_everything_or_says_it_wrongly_is_refused() {
    let good = manifest("1");
    assert!(Manifest::parse(good.as_bytes()).is_ok());
    for (from, to, why) in [
        ("hash-1", "hash-2", "not this program's"),
        ("rows_log2 = 14", "rows_log2 = 40", "rows_log2"),
        ("\"i.onnx\"", "\"../i.onnx\"", "own directory"),
        ("\"i.onnx\"", "\"/etc/passwd\"", "own directory"),
        ("\"i.onnx\"", "\"..\"", "own directory"),
        ("outside = \"-\"", "outside = \"?\"", "`outside`"),
        ("pack = \"p\"", "pack = \"\"", "pack"),
        ("licence = \"none\"", "licence = \"\"", "licence"),
        ("route_from = 900", "route_from = 1001", "at most 1000"),
        ("[\"-\", \"move\", \"pay\"]", "[\"-\"]", "labels"),
        ("version", "edition", "edition"),
    ] {
        let error = Manifest::parse(good.replace(from, to).as_bytes()).unwrap_err();
        assert!(error.contains(why), "{to}: {error}");
    }
    assert!(Manifest::parse(b"\xff").is_err());
}

#[cfg(feature = "ai")]
#[test]
fn a_file_that_is_no_model_is_refused_though_its_hash_is_right() {
    use sha2::{Digest, Sha256};
    let dir = tempfile::tempdir().unwrap();
    for garbage in [&b""[..], b"garbage", &[0x08; 4_096]] {
        let hash: String = Sha256::digest(garbage).iter().map(|byte| format!("{byte:02x}")).collect();
        fs::write(dir.path().join("manifest.toml"), manifest("1").replace("sha256 = \"00\"", &format!("sha256 = \"{hash}\""))).unwrap();
        fs::write(dir.path().join("i.onnx"), garbage).unwrap();
        assert!(matches!(Models::load(dir.path()), Err(Error::Model { .. })));
    }
}
