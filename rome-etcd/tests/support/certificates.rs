//! Certificates made for one test.

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType,
    date_time_ymd,
};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// An authority, with a directory for what it issues.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
}

/// A certificate and its key, in files.
pub struct Issued {
    pub cert: String,
    pub key: String,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, format!("authority {}", super::server::number()));
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authority = Self { issuer, directory: TempDir::new().unwrap() };
        authority.write("ca.pem", &authority.issuer.pem());
        authority
    }

    /// The file with the authority's own certificate.
    pub fn ca(&self) -> String {
        text(&self.directory.path().join("ca.pem"))
    }

    /// A server's certificate for this machine's loopback address.
    pub fn server(&self) -> Issued {
        self.issue(|params| params.subject_alt_names = vec![SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST))])
    }

    /// A server's certificate for the loopback address that has expired.
    pub fn expired_server(&self) -> Issued {
        self.issue(|params| {
            params.subject_alt_names = vec![SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST))];
            params.not_before = date_time_ymd(2001, 1, 1);
            params.not_after = date_time_ymd(2001, 2, 1);
        })
    }

    /// A server's certificate for another host.
    pub fn server_named(&self, name: &str) -> Issued {
        self.issue(|params| {
            params.subject_alt_names = vec![SanType::DnsName(Ia5String::try_from(name.to_owned()).unwrap())];
        })
    }

    /// A client's certificate.
    pub fn client(&self, common_name: &str) -> Issued {
        self.issue(|params| params.distinguished_name.push(DnType::CommonName, common_name))
    }

    fn issue(&self, change: impl FnOnce(&mut CertificateParams)) -> Issued {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        // etcd's own gateway is a client with the server's certificate.
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let number = super::server::number();
        Issued {
            cert: self.write(&format!("{number}.pem"), &certificate.pem()),
            key: self.write(&format!("{number}.key"), &key.serialize_pem()),
        }
    }

    fn write(&self, name: &str, content: &str) -> String {
        let file: PathBuf = self.directory.path().join(name);
        std::fs::write(&file, content).unwrap();
        text(&file)
    }
}

fn text(file: &Path) -> String {
    file.to_str().unwrap().to_owned()
}
