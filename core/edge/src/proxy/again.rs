//! Whether an attempt that failed is followed by another one (I6).

/// What is known of an attempt that failed after its connection was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Bytes of the request may have left.
    pub sent: bool,
    /// A part of an answer has gone to the client that cannot be taken back.
    pub answer_begun: bool,
    /// The method is idempotent (RFC 9110 section 9.2.2), and the body is still at hand.
    pub safe: bool,
    /// The edge itself has cut the connection.
    pub cut: bool,
    /// The edge itself gave the attempt up, because the route had changed.
    pub before_sending: bool,
    /// The connection to the server failed, and not the one to the client.
    pub by_server: bool,
    /// How often the request has been sent again already, because a server ended its connection.
    pub resends: u32,
}

impl Failed {
    /// Whether another attempt follows. What the edge ended itself is not held against the server: the epoch that follows
    /// is another chance, and does not count among the `resends`.
    #[must_use]
    pub fn is_followed(self, resends: u32) -> bool {
        if self.answer_begun {
            false
        } else if self.sent {
            self.by_server && self.safe && (self.cut || self.resends < resends)
        } else {
            self.before_sending
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Failed;

    const SENT: Failed = Failed {
        sent: true,
        answer_begun: false,
        safe: true,
        cut: false,
        before_sending: false,
        by_server: true,
        resends: 0,
    };

    #[test]
    fn i6_what_may_have_left_is_sent_again_only_where_that_is_safe() {
        assert!(SENT.is_followed(3));
        assert!(!Failed { safe: false, ..SENT }.is_followed(3), "a POST");
        assert!(!Failed { safe: false, cut: true, ..SENT }.is_followed(3), "a POST that was cut");
        assert!(!Failed { answer_begun: true, ..SENT }.is_followed(3), "the client has a part of an answer");
        assert!(!Failed { by_server: false, ..SENT }.is_followed(3), "the client has gone");
    }

    #[test]
    fn i6_what_has_not_left_is_given_to_somebody_else_when_the_route_has_changed() {
        let unsent = Failed { sent: false, safe: false, ..SENT };
        assert!(Failed { before_sending: true, ..unsent }.is_followed(0));
        assert!(!unsent.is_followed(3));
    }

    #[test]
    fn servers_that_end_connections_use_up_the_chances_and_cuts_do_not() {
        assert!(!Failed { resends: 3, ..SENT }.is_followed(3));
        assert!(Failed { resends: 3, cut: true, ..SENT }.is_followed(3));
    }
}
