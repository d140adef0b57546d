//! The cluster's own authority and the certificates of its nodes; a certificate names exactly one node.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::NodeId;

const CA_CERT: &str = "ca.pem";
const CA_KEY: &str = "ca.key";

fn failed(error: impl std::fmt::Display) -> io::Error {
    io::Error::other(error.to_string())
}

/// The DNS name in a node's certificate.
pub fn node_name(node: NodeId) -> String {
    format!("node-{node}.tandem")
}

const PUBLIC: u32 = 0o644;
const SECRET: u32 = 0o600;

/// Replaces a file as a whole, so that a node which re-reads it sees the old or the new one. The mode is set before the
/// first byte is written; an existing file of a looser mode is replaced and not reused.
fn write(path: &Path, pem: &str, mode: u32) -> io::Result<()> {
    let temporary = path.with_extension("new");
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
    file.write_all(pem.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

/// Makes an authority in `dir` (`ca.pem`, `ca.key`).
///
/// # Errors
/// When the directory cannot be written or already holds an authority.
pub fn init(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    if dir.join(CA_CERT).exists() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{} already holds an authority", dir.display())));
    }
    let mut params = CertificateParams::new(Vec::new()).map_err(failed)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, "Tandem cluster authority");
    let key = KeyPair::generate().map_err(failed)?;
    let cert = params.self_signed(&key).map_err(failed)?;
    // The key first: an authority without its key would look complete and could never issue anything.
    write(&dir.join(CA_KEY), &key.serialize_pem(), SECRET)?;
    write(&dir.join(CA_CERT), &cert.pem(), PUBLIC)
}

/// Issues a node's certificate in `dir` (`nodeN.pem`, `nodeN.key`), replacing an earlier one. `hosts` are further names.
///
/// # Errors
/// When `dir` holds no authority or cannot be written.
pub fn issue(dir: &Path, node: NodeId, hosts: &[String]) -> io::Result<()> {
    let ca_key = KeyPair::from_pem(&fs::read_to_string(dir.join(CA_KEY))?).map_err(failed)?;
    let issuer = Issuer::from_ca_cert_pem(&fs::read_to_string(dir.join(CA_CERT))?, ca_key).map_err(failed)?;
    let names: Vec<_> = std::iter::once(node_name(node)).chain(hosts.iter().cloned()).collect();
    let mut params = CertificateParams::new(names).map_err(failed)?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.distinguished_name.push(DnType::CommonName, node_name(node));
    let key = KeyPair::generate().map_err(failed)?;
    let cert = params.signed_by(&key, &issuer).map_err(failed)?;
    write(&dir.join(format!("node{node}.key")), &key.serialize_pem(), SECRET)?;
    write(&dir.join(format!("node{node}.pem")), &cert.pem(), PUBLIC)
}

/// The node a certificate (DER) was issued to.
pub fn node_of(certificate: &[u8]) -> Option<NodeId> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    names.value.general_names.iter().find_map(|name| match name {
        GeneralName::DNSName(name) => name.strip_prefix("node-")?.strip_suffix(".tandem")?.parse().ok(),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use rustls::pki_types::{CertificateDer, pem::PemObject};

    use super::*;

    fn der(path: &Path) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(&fs::read(path).unwrap()).unwrap()
    }

    #[test]
    fn a_certificate_names_its_node_and_nothing_else_does() {
        let dir = tempfile::tempdir().unwrap();
        init(dir.path()).unwrap();
        issue(dir.path(), 42, &["phone.example".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        assert_eq!(node_of(&der(&dir.path().join("node42.pem"))), Some(42));
        assert_eq!(node_of(&der(&dir.path().join(CA_CERT))), None);
        assert_eq!(node_of(b"not a certificate"), None);
    }

    #[test]
    fn keys_are_readable_by_their_owner_only_even_over_a_looser_file() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("node1.key"), "left open").unwrap();
        fs::set_permissions(dir.path().join("node1.key"), fs::Permissions::from_mode(0o666)).unwrap();
        init(dir.path()).unwrap();
        issue(dir.path(), 1, &[]).unwrap();
        for name in [CA_KEY, "node1.key"] {
            let mode = fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, SECRET, "{name}");
        }
    }

    #[test]
    fn an_authority_is_never_overwritten_and_a_node_certificate_is_renewed() {
        let dir = tempfile::tempdir().unwrap();
        assert!(issue(dir.path(), 1, &[]).is_err(), "no authority yet");
        init(dir.path()).unwrap();
        assert_eq!(init(dir.path()).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        issue(dir.path(), 1, &[]).unwrap();
        let first = der(&dir.path().join("node1.pem"));
        issue(dir.path(), 1, &[]).unwrap();
        assert_ne!(der(&dir.path().join("node1.pem")), first);
    }
}
