//! Certificates of the nodes, and the authority that the edge trusts.

use super::prosody::domain;
use lockstep_policy::Side;
use lockstep_tests::network::address;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::path::{Path, PathBuf};

/// Makes them all.
pub fn make(dir: &Path) {
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    std::fs::write(roots(dir), authority.self_signed(&authority_key).unwrap().pem()).unwrap();
    let issuer = Issuer::from_params(&authority, &authority_key);
    for side in Side::BOTH {
        let key = KeyPair::generate().unwrap();
        let names = vec![address(side).to_string(), domain(side)];
        let node = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
        let (certificate_file, key_file) = of(dir, side);
        std::fs::write(certificate_file, node.pem()).unwrap();
        std::fs::write(key_file, key.serialize_pem()).unwrap();
    }
}

/// Whom the edge trusts.
pub fn roots(dir: &Path) -> PathBuf {
    dir.join("roots.pem")
}

/// A node's certificate and its key.
pub fn of(dir: &Path, side: Side) -> (PathBuf, PathBuf) {
    (dir.join(format!("node-{side}.pem")), dir.join(format!("node-{side}.key")))
}
