/*
 * lockstep policy ABI, version 1.
 *
 * A policy is a pure, synchronous, deterministic state machine in a dynamic library: events in, actions out. It reads no
 * clock, socket, file or source of randomness. The same setup, seed and events give the same actions.
 *
 * Records
 *   Little-endian, at addresses that are multiples of 8, of sizes that are; no pointers in them. Each begins with ls_head:
 *   `size` is the whole record, `fixed` the struct before its texts and lists. A field at or after `fixed` is absent and
 *   counts as zero: later minor versions append fields, so read with LS_HAS or copy `fixed` bytes at most.
 *   Texts are UTF-8 without a NUL, as (offset from the record's start, length). Lists are (offset, count, stride).
 *   A later host or plugin reads records of an earlier one: a field that is absent counts as zero, and zero means none.
 *   A record of an unknown kind is skipped, unless it is flagged LS_MUST_KNOW: then return LS_MALFORMED.
 *
 * Memory
 *   Inputs are lent for the call. Outputs go through a sink, which copies. Neither side frees the other's memory.
 *
 * Threads
 *   Any thread may call any function; those that take an instance, one thread at a time for each instance.
 *
 * A policy exports one symbol, LS_EXPORT below, and puts its stamp into the section `.lockstep.policy` (LS_STAMP). The
 * stamp is read from the file before any code of it runs.
 */
#ifndef LOCKSTEP_POLICY_H
#define LOCKSTEP_POLICY_H

#include <stddef.h>
#include <stdint.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "lockstep policies are built for little-endian machines"
#endif

#ifdef __cplusplus
extern "C" {
#define LS_ASSERT(condition, text) static_assert(condition, text)
#else
#define LS_ASSERT(condition, text) _Static_assert(condition, text)
#endif

#define LS_MAJOR 1
#define LS_MINOR 1
/* The most bytes of one record. */
#define LS_MAX_RECORD 65536

/* What a call returns. */
enum { LS_OK = 0, LS_REFUSED = -1, LS_MALFORMED = -2, LS_FULL = -3, LS_PANICKED = -4 };

/* ls_head.flags */
enum { LS_MUST_KNOW = 1 };

/* ls_head.kind: events from 1, actions from 257. */
enum {
    LS_EV_START = 1,
    LS_EV_PROBE = 2,
    LS_EV_AGENT = 3,
    LS_EV_LINK = 4,
    LS_EV_TRAFFIC = 5,
    LS_EV_TIMER = 6,
    LS_EV_ORDER = 7,
    LS_EV_HANDOVER = 8,
    LS_EV_RESULT = 9,
    /* since 1.1 */
    LS_EV_CONFIG = 10,
    LS_EV_COMMAND = 11,
    LS_EV_SESSIONS = 12,

    LS_DO_WATCH = 257,
    LS_DO_UNWATCH = 258,
    LS_DO_PROBE_NOW = 259,
    LS_DO_SET_TIMER = 260,
    LS_DO_CANCEL_TIMER = 261,
    LS_DO_PREPARE = 262,
    LS_DO_SWITCH = 263,
    LS_DO_STAND_DOWN = 264,
    LS_DO_RESTART_SERVICE = 265,
    LS_DO_SHOW = 266,
    LS_DO_ALERT = 267,
    LS_DO_REFUSE_ORDER = 268,
    LS_DO_ASK_CONFIRMATION = 269,
    /* since 1.1 */
    LS_DO_WATCH_ICMP = 270,
    LS_DO_WATCH_AGENT = 271,
    LS_DO_WATCH_XMPP = 272,
    LS_DO_WATCH_CTI = 273,
    LS_DO_SHARE = 274,
    LS_DO_ROSTER = 275,
    LS_DO_REPLY = 276,
    LS_DO_UNANSWER = 277,
    LS_DO_SET_ALARM = 278,
    LS_DO_ACCEPT_ORDER = 279,
    LS_DO_ANSWER_CONFIG = 280,
    LS_DO_CONFIRM_GATE = 281,
    LS_DO_RUN_HOOK = 282,
    /* Why a step failed: read only when `step` returned an error. */
    LS_DO_FAULT = 511
};

/* The bit of a kind in ls_stamp.needs and ls_stamp.knows. */
#define LS_BIT(kind) ((uint64_t)1 << ((kind) < 257 ? (kind) - 1 : (kind) - 257 + 32))
/* Every policy must know these. */
#define LS_INDISPENSABLE (LS_BIT(LS_EV_START) | LS_BIT(LS_EV_HANDOVER))

/* Values of fields. Zero stands for none. A new value comes with a new kind only. */
enum { LS_A = 1, LS_B = 2 };
enum { LS_PROBE_GOOD = 1, LS_PROBE_WRONG = 2, LS_PROBE_SILENT = 3, LS_PROBE_REFUSED = 4 };
enum {
    LS_ROLE_UNKNOWN = 1,
    LS_ROLE_STANDBY = 2,
    LS_ROLE_ACTIVATING = 3,
    LS_ROLE_ACTIVE = 4,
    LS_ROLE_STANDING_DOWN = 5,
    LS_ROLE_FAILED = 6
};
enum {
    LS_SERVICE_STOPPED = 1,  /* as ordered */
    LS_SERVICE_STARTING = 2,
    LS_SERVICE_RUNNING = 3,
    LS_SERVICE_STOPPING = 4,
    LS_SERVICE_EXITED = 5,   /* without an order */
    LS_SERVICE_UNREADY = 6
};
enum { LS_LINK_MAIN = 1, LS_LINK_AUXILIARY = 2 };
enum { LS_HANDOVER_BEGUN = 1, LS_HANDOVER_COMPLETED = 2, LS_HANDOVER_ROLLED_BACK = 3, LS_HANDOVER_NO_ACTIVE = 4 };
enum { LS_DONE = 1, LS_NOT_BEGUN = 2, LS_FAILED = 3 };
enum { LS_PLANNED = 1, LS_FAILOVER = 2 };
enum { LS_INFO = 1, LS_WARNING = 2, LS_CRITICAL = 3 };
enum { LS_HTTP = 1, LS_TCP = 2 };
/* since 1.1 */
enum { LS_REPLICATION_UNKNOWN = 0, LS_REPLICATION_CURRENT = 1, LS_REPLICATION_BEHIND = 2, LS_REPLICATION_STOPPED = 3 };
enum { LS_LAN_UNKNOWN = 0, LS_LAN_CONNECTED = 1, LS_LAN_ISOLATED = 2 };
enum { LS_TLS_OFF = 0, LS_TLS_UNVERIFIED = 1, LS_TLS_VERIFIED = 2 };
/* Where a fact is looked for, and what the expression is. */
enum {
    LS_FROM_BODY = 1,  /* a regular expression: its first group, or the whole match */
    LS_FROM_XML = 2,   /* a path of element names from the root, as a/b */
    LS_FROM_JSON = 3,  /* a JSON pointer */
    LS_FROM_HEADER = 4 /* the name of a header field */
};
enum { LS_ICMP_SERVER = 1, LS_ICMP_GATEWAYS = 2, LS_ICMP_ADDRESSES = 3 };
enum { LS_XMPP_TCP = 1, LS_XMPP_BOSH = 2 };
enum { LS_PICK_TURN = 1, LS_PICK_ORDER = 2, LS_PICK_SHUFFLE = 3 };
enum { LS_ALWAYS = 1, LS_SERVES = 2, LS_SERVES_NOT = 3 };

/* In an event `seq` is its number, in an action the action's: counted from 1, or 0 to leave counting to the host.
 * `at_ns` is the edge's monotonic clock. */
typedef struct { uint32_t size; uint16_t kind, flags; uint32_t fixed, pad; uint64_t seq, at_ns; } ls_head;
typedef struct { uint32_t at, len; } ls_text;
typedef struct { uint32_t at, count, stride, pad; } ls_list;

/* Whether a record has a field. */
#define LS_HAS(record, type, field) ((record)->head.fixed >= offsetof(type, field) + sizeof((record)->field))

/* Events */
typedef struct {
    ls_head head;
    uint32_t active, restored;
    uint64_t epoch;
    uint64_t since_handover_ns; /* since 1.1; 0: there was none */
} ls_ev_start;
typedef struct {
    ls_head head;
    uint32_t side, probe, verdict, status;
    uint64_t latency_ns;
    ls_text detail;
    uint32_t server, pad; /* since 1.1, as what follows; counted from 1, 0: none of the side's */
    ls_list facts;        /* of ls_fact */
} ls_ev_probe;
typedef struct { ls_text name, value; } ls_fact;
typedef struct {
    ls_head head;
    uint32_t side, role;
    uint64_t epoch;
    uint32_t serving, fit;
    ls_list services; /* of ls_service */
    ls_text release;
    uint32_t replication, lan; /* since 1.1, as what follows */
    ls_text replication_detail, waiting;
} ls_ev_agent;
typedef struct { ls_text name; uint32_t exclusive, state, pid, restarts; } ls_service;
typedef struct { ls_head head; uint32_t side, connection, up, pad; } ls_ev_link;
typedef struct {
    ls_head head;
    uint32_t side, good, server_errors, refused, resets, timeouts;
    uint64_t window_ns;
    uint32_t slow, pad; /* since 1.1 */
} ls_ev_traffic;
typedef struct { ls_head head; uint32_t timer, pad; } ls_ev_timer;
typedef struct {
    ls_head head;
    uint64_t order;
    uint32_t to, confirmed;
    ls_text by;
    ls_list rights; /* since 1.1; of ls_text */
} ls_ev_order;
typedef struct { ls_head head; uint64_t epoch; uint32_t to, stage, active, pad; } ls_ev_handover;
typedef struct { ls_head head; uint64_t action; uint32_t outcome, pad; ls_text why; } ls_ev_result;
/* since 1.1 */
typedef struct { ls_head head; uint64_t change; ls_text setup; } ls_ev_config; /* JSON, as for `create` */
typedef struct {
    ls_head head;
    uint64_t order;
    uint32_t side, confirmed; /* side 0: none was named */
    ls_text name, argument, by;
    ls_list rights; /* of ls_text */
} ls_ev_command;
typedef struct {
    ls_head head;
    uint64_t share; /* the number of the ls_do_share in force */
    uint32_t on_a, on_b, moved, left, failed, ended;
    ls_list names; /* of ls_text: failed sessions */
} ls_ev_sessions;

/* Actions */
typedef struct {
    ls_head head;
    uint32_t probe, side, protocol, port; /* port 0: the server's own */
    uint64_t interval_ns, timeout_ns;
    uint32_t status, pad; /* status 0: any of 200 to 299; HTTP only, as the texts are */
    ls_text path, host, body;
    uint32_t server, tls; /* since 1.1, as what follows; server 0: each in turn */
    ls_text address;      /* IP:PORT; empty: the server */
    ls_list facts;        /* of ls_extract */
} ls_do_watch;
typedef struct { ls_text name, expression; uint32_t source, pad; } ls_extract;
typedef struct { ls_head head; uint32_t probe, pad; } ls_do_probe;                /* unwatch, probe now */
typedef struct { ls_head head; uint32_t timer, pad; uint64_t due_ns; } ls_do_timer; /* set, cancel */
typedef struct { ls_head head; uint32_t side, pad; } ls_do_prepare;
typedef struct {
    ls_head head;
    uint32_t to, urgency;
    uint64_t order; /* the operator's order; 0: none */
    ls_text reason;
    ls_list evidence; /* of uint64_t: numbers of events */
} ls_do_switch;
typedef struct { ls_head head; uint32_t side, pad; ls_text reason; ls_list evidence; } ls_do_stand_down;
typedef struct { ls_head head; uint32_t side, pad; ls_text service, reason; } ls_do_restart;
typedef struct { ls_head head; uint32_t side, pad; ls_text text; } ls_do_show;
typedef struct { ls_head head; uint32_t level, pad; ls_text text; } ls_do_alert;
typedef struct { ls_head head; uint64_t order; ls_text text; } ls_do_answer; /* refuse, ask for confirmation, accept */
typedef struct { ls_head head; ls_text text; } ls_do_fault;
/* since 1.1 */
typedef struct {
    ls_head head;
    uint32_t probe, side, server, dscp;
    uint64_t interval_ns, timeout_ns;
    uint32_t target, pad;
    ls_list addresses; /* of ls_text; for LS_ICMP_ADDRESSES */
} ls_do_watch_icmp;
typedef struct {
    ls_head head;
    uint32_t probe, side, connection, dscp;
    uint64_t interval_ns, timeout_ns;
    ls_text service; /* empty: the agent answers for itself */
} ls_do_watch_agent;
typedef struct {
    ls_head head;
    uint32_t probe, side, server, port;
    uint64_t interval_ns, timeout_ns;
    uint32_t transport, tls;
    ls_text path, domain, user, secret, presence;
} ls_do_watch_xmpp;
typedef struct {
    ls_head head;
    uint32_t probe, side, server, port;
    uint64_t interval_ns, timeout_ns;
    uint32_t tls, version, peripheral, services;
    uint64_t idle_timeout_ns;
    ls_text client, secret;
} ls_do_watch_cti;
typedef struct {
    ls_head head;
    uint32_t a, b, from, pad; /* from 0: no session moves */
    uint64_t window_ns, warning_ns, order;
    ls_text reason;
    ls_list evidence, rules; /* of uint64_t; of ls_share_rule */
} ls_do_share;
typedef struct { ls_text attribute, value; uint32_t side, pad; } ls_share_rule;
typedef struct { ls_head head; uint32_t side, pick; ls_text pool; ls_list servers; } ls_do_roster; /* of uint64_t */
typedef struct {
    ls_head head;
    uint32_t rule, when, side, status; /* side: for LS_SERVES and LS_SERVES_NOT */
    ls_text path, query, host, content_type, body;
} ls_do_reply;
typedef struct { ls_head head; uint32_t rule, pad; } ls_do_unanswer;
typedef struct { ls_head head; uint32_t timer, minute; } ls_do_alarm; /* minute: of the day, 0 to 1439 */
typedef struct { ls_head head; uint64_t change; ls_text refused; ls_list pending; } ls_do_answer_config; /* of ls_pending */
typedef struct { ls_text key, until; } ls_pending;
typedef struct { ls_head head; uint32_t side, pad; ls_text gate, by; } ls_do_confirm_gate;
typedef struct { ls_head head; uint32_t side, pad; ls_text hook, reason; } ls_do_run_hook;

/* ls_stamp.flags: an error of its own (a panic, an exception) does not end the process. */
enum { LS_CONTAINED = 1 };

typedef struct {
    uint8_t magic[16];
    uint32_t size, major, minor, flags;
    uint64_t needs, knows; /* LS_BIT of kinds: those without which it cannot work; all that it understands or gives */
    uint32_t state_version, pad;
    char id[32], version[32];
} ls_stamp;

typedef struct { const uint8_t *ptr; size_t len; } ls_bytes;

typedef struct ls_sink ls_sink;
struct ls_sink {
    /* In `step` one call is one record; elsewhere the bytes of all calls are joined. LS_FULL: return it. */
    int32_t (*put)(ls_sink *sink, const uint8_t *ptr, size_t len);
};

typedef struct ls_self ls_self;

typedef struct {
    uint32_t size, minor;
    const ls_stamp *stamp;
    /* Topics: "schema" (JSON schema of the parameters; ranges of texts of format "period" in x-minimum, x-maximum) and
     * "rules" (JSON list of {"id", "text"}), with an empty config; "explain" (text), "lint" (JSON list of {"rule",
     * "level": "info"|"warning"|"critical", "text"}) and "delay" (JSON {"expected_ns"}), with the setup's JSON.
     * Since 1.1 also "commands" (JSON list of {"name", "text", "argument", "side"}: what it takes from operators), with
     * an empty config, and "traits" (JSON {"exclusive"}: whether one side is active at a time), with the setup's JSON.
     * LS_REFUSED for any other. */
    int32_t (*describe)(const char *topic, ls_bytes config, ls_sink *out);
    int32_t (*create)(ls_bytes config, uint64_t seed, ls_self **instance, ls_sink *why);
    int32_t (*step)(ls_self *instance, ls_bytes events, ls_sink *actions);
    int32_t (*save)(const ls_self *instance, ls_sink *out);
    int32_t (*restore)(ls_self *instance, uint32_t state_version, ls_bytes state, ls_sink *why);
    void (*destroy)(ls_self *instance);
    /* A further table by its name, or NULL. */
    const void *(*extension)(const char *name);
} ls_policy;

/* The stamp of a policy in C: `LS_STAMP(stamp, "id", "1.0.0", 1, needs, knows)`. */
#define LS_STAMP(name, id, version, state_version, needs, knows)                                                      \
    __attribute__((section(".lockstep.policy"), used)) static const ls_stamp name = {                                 \
        "lockstep.policy", sizeof(ls_stamp), LS_MAJOR, LS_MINOR, LS_CONTAINED, needs, knows, state_version, 0, id, version}

/* The exported table: `LS_EXPORT ls_policy lockstep_policy_v1 = {...};` */
#define LS_EXPORT __attribute__((visibility("default"))) const

/* Frozen. */
LS_ASSERT(sizeof(ls_head) == 32, "ls_head");
LS_ASSERT(sizeof(ls_text) == 8, "ls_text");
LS_ASSERT(sizeof(ls_list) == 16, "ls_list");
LS_ASSERT(sizeof(ls_ev_start) == 56 && offsetof(ls_ev_start, since_handover_ns) == 48, "ls_ev_start");
LS_ASSERT(sizeof(ls_ev_probe) == 88 && offsetof(ls_ev_probe, server) == 64, "ls_ev_probe");
LS_ASSERT(sizeof(ls_ev_agent) == 104 && offsetof(ls_ev_agent, replication) == 80, "ls_ev_agent");
LS_ASSERT(sizeof(ls_service) == 24, "ls_service");
LS_ASSERT(sizeof(ls_ev_link) == 48, "ls_ev_link");
LS_ASSERT(sizeof(ls_ev_traffic) == 72 && offsetof(ls_ev_traffic, slow) == 64, "ls_ev_traffic");
LS_ASSERT(sizeof(ls_ev_timer) == 40, "ls_ev_timer");
LS_ASSERT(sizeof(ls_ev_order) == 72 && offsetof(ls_ev_order, rights) == 56, "ls_ev_order");
LS_ASSERT(sizeof(ls_ev_handover) == 56, "ls_ev_handover");
LS_ASSERT(sizeof(ls_ev_result) == 56, "ls_ev_result");
LS_ASSERT(sizeof(ls_do_watch) == 128 && offsetof(ls_do_watch, server) == 96, "ls_do_watch");
LS_ASSERT(sizeof(ls_do_probe) == 40, "ls_do_probe");
LS_ASSERT(sizeof(ls_do_timer) == 48, "ls_do_timer");
LS_ASSERT(sizeof(ls_do_prepare) == 40, "ls_do_prepare");
LS_ASSERT(sizeof(ls_do_switch) == 72, "ls_do_switch");
LS_ASSERT(sizeof(ls_do_stand_down) == 64, "ls_do_stand_down");
LS_ASSERT(sizeof(ls_do_restart) == 56, "ls_do_restart");
LS_ASSERT(sizeof(ls_do_show) == 48, "ls_do_show");
LS_ASSERT(sizeof(ls_do_alert) == 48, "ls_do_alert");
LS_ASSERT(sizeof(ls_do_answer) == 48, "ls_do_answer");
LS_ASSERT(sizeof(ls_do_fault) == 40, "ls_do_fault");
LS_ASSERT(sizeof(ls_fact) == 16, "ls_fact");
LS_ASSERT(sizeof(ls_extract) == 24, "ls_extract");
LS_ASSERT(sizeof(ls_ev_config) == 48, "ls_ev_config");
LS_ASSERT(sizeof(ls_ev_command) == 88, "ls_ev_command");
LS_ASSERT(sizeof(ls_ev_sessions) == 80, "ls_ev_sessions");
LS_ASSERT(sizeof(ls_do_watch_icmp) == 88, "ls_do_watch_icmp");
LS_ASSERT(sizeof(ls_do_watch_agent) == 72, "ls_do_watch_agent");
LS_ASSERT(sizeof(ls_do_watch_xmpp) == 112, "ls_do_watch_xmpp");
LS_ASSERT(sizeof(ls_do_watch_cti) == 104, "ls_do_watch_cti");
LS_ASSERT(sizeof(ls_do_share) == 112, "ls_do_share");
LS_ASSERT(sizeof(ls_share_rule) == 24, "ls_share_rule");
LS_ASSERT(sizeof(ls_do_roster) == 64, "ls_do_roster");
LS_ASSERT(sizeof(ls_do_reply) == 88, "ls_do_reply");
LS_ASSERT(sizeof(ls_do_unanswer) == 40, "ls_do_unanswer");
LS_ASSERT(sizeof(ls_do_alarm) == 40, "ls_do_alarm");
LS_ASSERT(sizeof(ls_do_answer_config) == 64, "ls_do_answer_config");
LS_ASSERT(sizeof(ls_pending) == 16, "ls_pending");
LS_ASSERT(sizeof(ls_do_confirm_gate) == 56, "ls_do_confirm_gate");
LS_ASSERT(sizeof(ls_do_run_hook) == 56, "ls_do_run_hook");
LS_ASSERT(sizeof(ls_stamp) == 120, "ls_stamp");
LS_ASSERT(offsetof(ls_policy, stamp) == 8 && offsetof(ls_policy, describe) == 8 + sizeof(void *), "ls_policy");

#ifdef __cplusplus
}
#endif

#endif
