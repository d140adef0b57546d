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

fn write_secret(path: &Path, pem: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(pem.as_bytes())
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
    fs::write(dir.join(CA_CERT), cert.pem())?;
    write_secret(&dir.join(CA_KEY), &key.serialize_pem())
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
    fs::write(dir.join(format!("node{node}.pem")), cert.pem())?;
    write_secret(&dir.join(format!("node{node}.key")), &key.serialize_pem())
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
