//! Which certificate a client is shown: the first that is for the name it asks for and whose key it understands.

use super::files::Chain;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::collections::HashMap;
use std::sync::Arc;

/// The certificates of a listener, by name.
#[derive(Debug)]
pub(super) struct Names {
    named: HashMap<String, Vec<Arc<CertifiedKey>>>,
    all: Vec<Arc<CertifiedKey>>,
}

impl Names {
    /// In the order of the configuration: the first is for who asks for no name, or for one that is nobody's.
    pub(super) fn new(chains: &[Chain]) -> Names {
        let mut named = HashMap::<String, Vec<_>>::new();
        for chain in chains {
            for name in &chain.names {
                named.entry(name.clone()).or_default().push(Arc::clone(&chain.key));
            }
        }
        Names { named, all: chains.iter().map(|chain| Arc::clone(&chain.key)).collect() }
    }

    /// Those for a name, in lower case: its own, then those of its domain's wildcard.
    fn of(&self, name: &str) -> impl Iterator<Item = &Arc<CertifiedKey>> {
        // RFC 9525 section 6.3: a wildcard stands for exactly one label.
        let wildcard = name.split_once('.').map(|(_, domain)| format!("*.{domain}"));
        let own = self.named.get(name).into_iter().flatten();
        own.chain(wildcard.and_then(|wildcard| self.named.get(&wildcard)).into_iter().flatten())
    }

    fn choose(&self, name: Option<&str>, understood: impl Fn(&CertifiedKey) -> bool) -> Option<Arc<CertifiedKey>> {
        let fitting =
            name.and_then(|name| self.of(&name.to_ascii_lowercase()).find(|key| understood(key)).map(Arc::clone));
        fitting.or_else(|| self.all.iter().find(|key| understood(key)).map(Arc::clone))
    }
}

impl ResolvesServerCert for Names {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        self.choose(hello.server_name(), |key| key.key.choose_scheme(schemes).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::crypto::ring::default_provider;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use std::time::SystemTime;

    fn chain(names: &[&str]) -> Chain {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(names.clone()).unwrap().self_signed(&key).unwrap();
        let secret = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let chain: Vec<CertificateDer<'static>> = vec![certificate.der().clone()];
        let key = Arc::new(CertifiedKey::from_der(chain, secret.clone_key(), &default_provider()).unwrap());
        Chain { key, secret, names, file: "x".into(), not_after: SystemTime::now() }
    }

    #[test]
    fn a_name_finds_its_own_then_its_domain_then_the_first() {
        let chains = [chain(&["first.example"]), chain(&["*.pair.example"]), chain(&["a.pair.example"])];
        let names = Names::new(&chains);
        let found = |name: Option<&str>| {
            let key = names.choose(name, |_| true).unwrap();
            chains.iter().position(|chain| Arc::ptr_eq(&chain.key, &key)).unwrap()
        };
        assert_eq!(found(Some("a.pair.example")), 2, "its own counts before its domain's");
        assert_eq!(found(Some("B.Pair.Example")), 1);
        assert_eq!(found(Some("a.b.pair.example")), 0, "a wildcard is one label");
        assert_eq!(found(Some("pair.example")), 0);
        assert_eq!(found(Some("first.example")), 0);
        assert_eq!(found(None), 0);
    }

    #[test]
    fn who_does_not_understand_a_key_is_shown_another_of_the_name() {
        let chains = [chain(&["pair.example"]), chain(&["pair.example"])];
        let names = Names::new(&chains);
        let second = &chains[1].key;
        let key = names.choose(Some("pair.example"), |key| std::ptr::eq(key, &**second)).unwrap();
        assert!(Arc::ptr_eq(&key, second));
        assert!(names.choose(Some("pair.example"), |_| false).is_none());
    }
}
