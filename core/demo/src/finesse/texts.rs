//! The vendor's documents.

use super::Server;
use std::fmt::Write;

/// What every interface answers while the server is not in service.
pub(super) fn api_errors() -> &'static str {
    "<ApiErrors>\n  <ApiError>\n    <ErrorData></ErrorData>\n    <ErrorMessage>E_SERVICE_UNAVAILABLE</ErrorMessage>\n    \
     <ErrorType>Service Unavailable</ErrorType>\n  </ApiError>\n</ApiErrors>\n"
}

pub(super) fn system_info(server: &Server) -> String {
    let options = &server.options;
    let (status, reason) = match (server.in_service(), server.has_cti()) {
        (true, _) => ("IN_SERVICE", ""),
        (false, false) => ("OUT_OF_SERVICE", "CTI server is down"),
        (false, true) => ("OUT_OF_SERVICE", "Finesse is restarting"),
    };
    let heartbeat = if server.heartbeat.get() { "success" } else { "failure" };
    let mut hosts = String::new();
    for (number, host) in options.cti.iter().enumerate() {
        let since = server.connected.get().filter(|(connected, _)| *connected == number).map(|(_, since)| since);
        let seconds = since.map_or(0, |since| crate::now().saturating_sub(since) / 1_000_000_000);
        // Writing to a string cannot fail.
        let _ = write!(
            hosts,
            "\n    <ctiServer>\n      <active>{}</active>\n      <connectedDuration>{seconds}</connectedDuration>\n      \
             <host>{host}</host>\n    </ctiServer>",
            since.is_some()
        );
    }
    format!(
        "<SystemInfo>\n  <ctiHeartbeatInterval>{interval}</ctiHeartbeatInterval>\n  <ctiMMode>false</ctiMMode>\n  \
         <ctiServers>{hosts}\n  </ctiServers>\n  <currentTimestamp></currentTimestamp>\n  \
         <deploymentType>UCCE</deploymentType>\n  <finesseMMode>false</finesseMMode>\n  \
         <lastCTIHeartbeatStatus>{heartbeat}</lastCTIHeartbeatStatus>\n  <primaryNode>\n    <host>{domain}</host>\n    \
         <httpsPort>{port}</httpsPort>\n    <xmppPort>5222</xmppPort>\n    <xmppSecurePort>5223</xmppSecurePort>\n  \
         </primaryNode>\n  <status>{status}</status>\n  <statusReason>{reason}</statusReason>\n  \
         <systemAuthMode>NON_SSO</systemAuthMode>\n  <timezoneOffset>0</timezoneOffset>\n  <uri>{uri}</uri>\n  \
         <xmppDomain>{domain}</xmppDomain>\n  <xmppPubSubDomain>pubsub.{domain}</xmppPubSubDomain>\n</SystemInfo>\n",
        interval = options.cti_heartbeat.as_secs(),
        domain = options.domain,
        port = options.api.port(),
        uri = super::SYSTEM_INFO,
    )
}
