/* A lockstep policy in C, whole and small: watch both sides by TCP, and move the active role off a side that fails.
 *
 *   W1  The active side fails `failures` probes in a row and the other side answers: fail over to it.
 *   W2  An operator's order is carried out if the side that shall become active answers.
 *   W3  No side is active: A becomes active if it answers, else B.
 *
 * It needs the header `lockstep_policy.h` and a C compiler, nothing else. It decides; it never acts: no clock, no socket,
 * no file, no thread. The same events give the same actions, always: that is what `lockstep policy check` proves. */
#include "lockstep_policy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NONE = 0, SIDES = 2, TEXT_MAX = 200 };

LS_STAMP(stamp, "example-c", "1.0.0", 1, LS_INDISPENSABLE,
         LS_INDISPENSABLE | LS_BIT(LS_EV_PROBE) | LS_BIT(LS_EV_ORDER) | LS_BIT(LS_EV_RESULT) | LS_BIT(LS_DO_WATCH) |
             LS_BIT(LS_DO_SWITCH) | LS_BIT(LS_DO_REFUSE_ORDER) | LS_BIT(LS_DO_SHOW));

/* What is known of a side. */
struct side {
    uint32_t failed;    /* probes in a row */
    uint32_t answers;   /* 1: the last probe was good */
    uint64_t last_seq;  /* the event that said so */
};

/* All that is known of a pair. It is its own snapshot, so it holds no pointer. */
struct known {
    struct side sides[SIDES];
    uint32_t active;   /* LS_A, LS_B or NONE */
    uint32_t moving;   /* 1: a switch was asked for, and has not ended */
    uint32_t started;  /* 1: there was a start */
    uint32_t pad;
};

struct ls_self {
    uint32_t failures;
    uint64_t interval_ns, timeout_ns;
    struct known known;
};

/* ---- what the plugin says of itself --------------------------------------------------------------------------- */

static const char SCHEMA[] =
    "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{"
    "\"failures\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":100,\"default\":3,"
    "\"description\":\"Consecutive failed probes to fail over.\"},"
    "\"interval_ms\":{\"type\":\"integer\",\"minimum\":10,\"maximum\":60000,\"default\":1000,"
    "\"description\":\"From one probe to the next, in milliseconds.\"},"
    "\"timeout_ms\":{\"type\":\"integer\",\"minimum\":10,\"maximum\":60000,\"default\":500,"
    "\"description\":\"A probe without an answer for so long has failed, in milliseconds.\"}}}";

static const char RULES[] =
    "[{\"id\":\"W1\",\"text\":\"The active side fails `failures` probes in a row and the other side answers: fail over.\"},"
    "{\"id\":\"W2\",\"text\":\"An operator's order is carried out if the side that shall become active answers.\"},"
    "{\"id\":\"W3\",\"text\":\"No side is active: A becomes active if it answers, else B.\"}]";

static int32_t say(ls_sink *out, const char *text) { return out->put(out, (const uint8_t *)text, strlen(text)); }

static const char *find(const char *at, const char *end, const char *text) {
    size_t length = strlen(text);
    for (; (size_t)(end - at) >= length; at++)
        if (!memcmp(at, text, length)) return at + length;
    return NULL;
}

/* The whole number of a parameter, or its default. The host has checked the setup against the schema before: what stands
 * in "parameters" is a flat table of the three numbers. "detect", beside it, has keys of the same names. */
static uint32_t parameter(ls_bytes config, const char *key, uint32_t otherwise) {
    const char *end = (const char *)config.ptr + config.len;
    const char *at = config.len ? find((const char *)config.ptr, end, "\"parameters\":{") : NULL;
    const char *close = at ? memchr(at, '}', (size_t)(end - at)) : NULL;
    at = close ? find(at, close, key) : NULL;
    if (!at || close - at < 3 || memcmp(at, "\":", 2)) return otherwise;
    uint32_t value = 0;
    for (at += 2; at < close && *at >= '0' && *at <= '9'; at++) value = value * 10 + (uint32_t)(*at - '0');
    return value;
}

static void configure(ls_self *self, ls_bytes config) {
    self->failures = parameter(config, "\"failures", 3);
    self->interval_ns = (uint64_t)parameter(config, "\"interval_ms", 1000) * 1000000;
    self->timeout_ns = (uint64_t)parameter(config, "\"timeout_ms", 500) * 1000000;
}

static int32_t describe(const char *topic, ls_bytes config, ls_sink *out) {
    char text[400];
    ls_self self = {0};
    if (!strcmp(topic, "schema")) return say(out, SCHEMA);
    if (!strcmp(topic, "rules")) return say(out, RULES);
    if (!strcmp(topic, "commands") || !strcmp(topic, "lint")) return say(out, "[]");
    if (!strcmp(topic, "traits")) return say(out, "{\"exclusive\":true}");
    configure(&self, config);
    uint64_t delay_ns = self.failures * self.interval_ns + self.timeout_ns;
    if (!strcmp(topic, "delay")) {
        snprintf(text, sizeof text, "{\"expected_ns\":%llu}", (unsigned long long)delay_ns);
        return say(out, text);
    }
    if (!strcmp(topic, "explain")) {
        snprintf(text, sizeof text,
                 "W1  After %u failed probes in a row, one each %llu ms, the role moves to the other side if that answers:\n"
                 "    %llu ms after the fault at the latest, and the new side's start.\n"
                 "W2  An operator's order is carried out if the side that shall become active answers.\n"
                 "W3  While no side is active, A becomes active if it answers, else B.\n",
                 self.failures, (unsigned long long)(self.interval_ns / 1000000), (unsigned long long)(delay_ns / 1000000));
        return say(out, text);
    }
    return LS_REFUSED;
}

/* ---- records -------------------------------------------------------------------------------------------------- */

/* An action with one text and one number as its evidence. */
struct record {
    union {
        ls_head head;
        ls_do_watch watch;
        ls_do_switch moved;
        ls_do_answer answer;
        ls_do_show show;
    } body;
    uint64_t evidence;
    char text[TEXT_MAX];
};

static ls_text texted(struct record *record, const char *text) {
    size_t length = strlen(text);
    if (length >= TEXT_MAX) length = TEXT_MAX - 1;
    memcpy(record->text, text, length);
    return (ls_text){(uint32_t)offsetof(struct record, text), (uint32_t)length};
}

static int32_t give(ls_sink *actions, const ls_head *event, struct record *record, uint16_t kind, size_t fixed) {
    record->body.head = (ls_head){.size = sizeof *record, .kind = kind, .fixed = (uint32_t)fixed, .at_ns = event->at_ns};
    return actions->put(actions, (const uint8_t *)record, sizeof *record);
}

static int32_t watch(const ls_self *self, uint32_t side, const ls_head *event, ls_sink *actions) {
    struct record record = {0};
    record.body.watch = (ls_do_watch){.probe = side, .side = side, .protocol = LS_TCP, .interval_ns = self->interval_ns,
                                      .timeout_ns = self->timeout_ns};
    return give(actions, event, &record, LS_DO_WATCH, sizeof record.body.watch);
}

static int32_t move(ls_self *self, uint32_t to, uint32_t urgency, uint64_t order, uint64_t seq, const char *reason,
                    const ls_head *event, ls_sink *actions) {
    struct record record = {0};
    self->known.moving = 1;
    record.evidence = seq;
    record.body.moved.to = to;
    record.body.moved.urgency = urgency;
    record.body.moved.order = order;
    record.body.moved.reason = texted(&record, reason);
    record.body.moved.evidence =
        (ls_list){(uint32_t)offsetof(struct record, evidence), 1, sizeof record.evidence, 0};
    return give(actions, event, &record, LS_DO_SWITCH, sizeof record.body.moved);
}

static int32_t refuse(uint64_t order, const char *why, const ls_head *event, ls_sink *actions) {
    struct record record = {0};
    record.body.answer.order = order;
    record.body.answer.text = texted(&record, why);
    return give(actions, event, &record, LS_DO_REFUSE_ORDER, sizeof record.body.answer);
}

static int32_t show(uint32_t side, const char *text, const ls_head *event, ls_sink *actions) {
    struct record record = {0};
    record.body.show.side = side;
    record.body.show.text = texted(&record, text);
    return give(actions, event, &record, LS_DO_SHOW, sizeof record.body.show);
}

/* A copy of a record's fixed part. What an earlier host has not appended yet stays zero. */
static void read_fixed(const ls_head *event, void *out, size_t size) {
    memcpy(out, event, event->fixed < size ? event->fixed : size);
}

/* ---- the rules ------------------------------------------------------------------------------------------------ */

static char name_of(uint32_t side) { return side == LS_A ? 'a' : 'b'; }
static uint32_t other(uint32_t side) { return side == LS_A ? LS_B : LS_A; }
static struct side *of(ls_self *self, uint32_t side) { return &self->known.sides[side == LS_B]; }

/* W1 and W3: looked at after every event. */
static int32_t decide(ls_self *self, const ls_head *event, ls_sink *actions) {
    char why[TEXT_MAX];
    if (!self->known.started || self->known.moving) return LS_OK;
    if (self->known.active == NONE) {
        uint32_t to = of(self, LS_A)->answers ? LS_A : of(self, LS_B)->answers ? LS_B : NONE;
        if (to == NONE) return LS_OK;
        snprintf(why, sizeof why, "W3: no side is active, and %c answers", name_of(to));
        return move(self, to, LS_FAILOVER, 0, of(self, to)->last_seq, why, event, actions);
    }
    struct side *active = of(self, self->known.active);
    uint32_t to = other(self->known.active);
    if (active->failed < self->failures || !of(self, to)->answers) return LS_OK;
    snprintf(why, sizeof why, "W1: %c failed %u probes in a row", name_of(self->known.active), active->failed);
    return move(self, to, LS_FAILOVER, 0, active->last_seq, why, event, actions);
}

static int32_t on_start(ls_self *self, const ls_head *event, ls_sink *actions) {
    ls_ev_start start = {0};
    read_fixed(event, &start, sizeof start);
    /* What is unknown is unknown, never up. */
    memset(&self->known, 0, sizeof self->known);
    self->known.started = 1;
    self->known.active = start.active;
    for (uint32_t side = LS_A; side <= LS_B; side++) {
        int32_t code = watch(self, side, event, actions);
        if (code != LS_OK) return code;
    }
    return LS_OK;
}

static int32_t on_probe(ls_self *self, const ls_head *event, ls_sink *actions) {
    ls_ev_probe probe = {0};
    read_fixed(event, &probe, sizeof probe);
    if (probe.side != LS_A && probe.side != LS_B) return LS_MALFORMED;
    struct side *side = of(self, probe.side);
    uint32_t answers = probe.verdict == LS_PROBE_GOOD;
    int32_t code = LS_OK;
    if (answers != side->answers) code = show(probe.side, answers ? "answers" : "does not answer", event, actions);
    side->answers = answers;
    side->failed = answers ? 0 : side->failed + 1;
    side->last_seq = event->seq;
    return code;
}

static int32_t on_order(ls_self *self, const ls_head *event, ls_sink *actions) {
    ls_ev_order order = {0};
    char why[TEXT_MAX];
    read_fixed(event, &order, sizeof order);
    if (order.to != LS_A && order.to != LS_B) return LS_MALFORMED;
    if (!of(self, order.to)->answers) {
        snprintf(why, sizeof why, "W2: %c does not answer", name_of(order.to));
        return refuse(order.order, why, event, actions);
    }
    if (self->known.moving) return refuse(order.order, "W2: a switch is under way", event, actions);
    uint32_t urgency = self->known.active == NONE ? LS_FAILOVER : LS_PLANNED;
    return move(self, order.to, urgency, order.order, event->seq, "W2: ordered", event, actions);
}

static int32_t on_handover(ls_self *self, const ls_head *event) {
    ls_ev_handover handover = {0};
    read_fixed(event, &handover, sizeof handover);
    self->known.moving = handover.stage == LS_HANDOVER_BEGUN;
    self->known.active = handover.active;
    if (!self->known.moving) {
        /* The counts belong to what was: a side that has just become active starts afresh. */
        for (uint32_t side = LS_A; side <= LS_B; side++) of(self, side)->failed = 0;
    }
    return LS_OK;
}

/* A switch that was refused or that failed has ended; one that was done is told by its handover. */
static int32_t on_result(ls_self *self, const ls_head *event) {
    ls_ev_result result = {0};
    read_fixed(event, &result, sizeof result);
    if (result.outcome != LS_DONE) {
        self->known.moving = 0;
        for (uint32_t side = LS_A; side <= LS_B; side++) of(self, side)->failed = 0;
    }
    return LS_OK;
}

static int32_t on_event(ls_self *self, const ls_head *event, ls_sink *actions) {
    switch (event->kind) {
    case LS_EV_START: return on_start(self, event, actions);
    case LS_EV_PROBE: return on_probe(self, event, actions);
    case LS_EV_ORDER: return on_order(self, event, actions);
    case LS_EV_HANDOVER: return on_handover(self, event);
    case LS_EV_RESULT: return on_result(self, event);
    default: return event->flags & LS_MUST_KNOW ? LS_MALFORMED : LS_OK;
    }
}

/* ---- the table ------------------------------------------------------------------------------------------------ */

static int32_t create(ls_bytes config, uint64_t seed, ls_self **instance, ls_sink *why) {
    (void)seed;
    ls_self *self = calloc(1, sizeof *self);
    if (!self) {
        say(why, "there is no memory for it");
        return LS_REFUSED;
    }
    configure(self, config);
    if (self->timeout_ns > 10 * self->interval_ns) {
        say(why, "`timeout_ms` must be at most ten times `interval_ms`: that many probes would be under way at once");
        free(self);
        return LS_REFUSED;
    }
    *instance = self;
    return LS_OK;
}

static int32_t step(ls_self *self, ls_bytes events, ls_sink *actions) {
    while (events.len) {
        if (events.len < sizeof(ls_head)) return LS_MALFORMED;
        const ls_head *event = (const ls_head *)(const void *)events.ptr;
        if (event->size < event->fixed || event->fixed < sizeof(ls_head) || event->size > events.len) return LS_MALFORMED;
        int32_t code = on_event(self, event, actions);
        if (code == LS_OK) code = decide(self, event, actions);
        if (code != LS_OK) return code;
        events.ptr += event->size;
        events.len -= event->size;
    }
    return LS_OK;
}

static int32_t save(const ls_self *self, ls_sink *out) {
    return out->put(out, (const uint8_t *)&self->known, sizeof self->known);
}

static int32_t restore(ls_self *self, uint32_t state_version, ls_bytes state, ls_sink *why) {
    if (state_version != 1 || state.len != sizeof self->known) {
        say(why, "it is not a snapshot of state version 1");
        return LS_REFUSED;
    }
    memcpy(&self->known, state.ptr, sizeof self->known);
    return LS_OK;
}

static void destroy(ls_self *self) { free(self); }

static const void *extension(const char *name) {
    (void)name;
    return NULL;
}

LS_EXPORT ls_policy lockstep_policy_v1 = {
    .size = sizeof(ls_policy), .minor = LS_MINOR, .stamp = &stamp, .describe = describe, .create = create, .step = step,
    .save = save, .restore = restore, .destroy = destroy, .extension = extension};
