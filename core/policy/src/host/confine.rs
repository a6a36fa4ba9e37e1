//! What a worker takes from itself before a plugin's code decides anything: descriptors, memory, privileges, system calls.
//!
//! Nothing here depends on root. What the kernel refuses is told to the edge, which says it once.
#![allow(unsafe_code, reason = "closes descriptors, and handles a signal")]

use super::progress::Progress;
use libc::c_long;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setrlimit};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};
use std::collections::BTreeMap;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// Linux counts in pages of at least so many bytes.
const PAGE: u64 = 4096;

/// Descriptors that a worker may have: those that it has.
const DESCRIPTORS: u64 = 16;

/// Before the plugin is loaded: who dies with the edge, opens nothing that somebody left open, and dumps no core.
pub(super) fn shut() -> Result<(), String> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(said("cannot be made to die with the edge"))?;
    // SAFETY: everything from 3 on is an accident of the process that started this one; nothing here refers to it.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
    let core = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, core).map_err(said("cannot be kept from dumping core"))?;
    // When memory runs out it is not the edge's processes beside it that go. Not being allowed to say so changes nothing.
    let _ = std::fs::write("/proc/self/oom_score_adj", "500");
    rustix::thread::set_no_new_privs(true).map_err(said("cannot give up new privileges"))?;
    if closed == 0 { Ok(()) } else { Err("cannot close what it does not need".to_owned()) }
}

/// Between loading and the first instance: no more memory than this over what it has, and no system call that a pure
/// function does not need.
pub(super) fn confine(memory: u64, progress: &Progress) -> Result<(), String> {
    limit(Resource::As, in_use().saturating_add(memory)).map_err(said("memory cannot be bounded"))?;
    limit(Resource::Nofile, DESCRIPTORS).map_err(said("descriptors cannot be bounded"))?;
    tell_forbidden(progress);
    let filter = filter().map_err(said("system calls cannot be bounded"))?;
    // All threads: a test's worker has one beside this.
    seccompiler::apply_filter_all_threads(&filter).map_err(said("the kernel does not bound system calls"))
}

fn said<E: std::fmt::Display>(what: &str) -> impl Fn(E) -> String + '_ {
    move |error| format!("{what}: {error}")
}

fn limit(resource: Resource, most: u64) -> rustix::io::Result<()> {
    let most = getrlimit(resource).maximum.map_or(most, |allowed| allowed.min(most));
    setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })
}

/// Bytes of address space in use.
fn in_use() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|text| text.split(' ').next()?.parse::<u64>().ok()).unwrap_or(1 << 18);
    pages.saturating_mul(PAGE)
}

/// What computing, sleeping, taking memory and dying need, and what carries frames.
fn filter() -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules = BTreeMap::new();
    let free = [
        libc::SYS_read,
        libc::SYS_write,
        libc::SYS_readv,
        libc::SYS_writev,
        libc::SYS_recvfrom,
        libc::SYS_sendto,
        libc::SYS_fstat,
        libc::SYS_lseek,
        libc::SYS_close,
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_madvise,
        libc::SYS_brk,
        libc::SYS_futex,
        libc::SYS_clock_gettime,
        libc::SYS_clock_nanosleep,
        libc::SYS_nanosleep,
        libc::SYS_gettimeofday,
        libc::SYS_getrandom,
        libc::SYS_sched_yield,
        libc::SYS_sched_getaffinity,
        libc::SYS_getpid,
        libc::SYS_gettid,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sigaltstack,
        libc::SYS_restart_syscall,
        libc::SYS_exit,
        libc::SYS_exit_group,
        libc::SYS_rseq,
        libc::SYS_membarrier,
    ];
    rules.extend(free.into_iter().map(|call| (call, Vec::new())));
    let argument = |index, how, value| SeccompCondition::new(index, SeccompCmpArgLen::Dword, how, value);
    let only = |condition| SeccompRule::new(vec![condition]).map(|rule| vec![rule]);
    // Memory that is run was there before.
    let not_run = || argument(2, SeccompCmpOp::MaskedEq(libc::PROT_EXEC as u64), 0);
    rules.insert(libc::SYS_mmap, only(not_run()?)?);
    rules.insert(libc::SYS_mprotect, only(not_run()?)?);
    // Aborting, and no signal to anybody else.
    let itself = || argument(0, SeccompCmpOp::Eq, std::process::id().into());
    rules.insert(libc::SYS_tgkill, only(itself()?)?);
    // Dying of a signal in the usual way; the handler that tells of forbidden calls stays.
    rules.insert(libc::SYS_rt_sigaction, only(argument(0, SeccompCmpOp::Ne, libc::SIGSYS as u64)?)?);
    // The C library asks whether standard output is a terminal.
    rules.insert(libc::SYS_ioctl, only(argument(1, SeccompCmpOp::Eq, libc::TCGETS)?)?);
    // It also names the memory that it takes, and threads.
    let named =
        |what: libc::c_int| argument(0, SeccompCmpOp::Eq, what as u64).and_then(|is| SeccompRule::new(vec![is]));
    rules.insert(libc::SYS_prctl, vec![named(libc::PR_SET_VMA)?, named(libc::PR_SET_NAME)?]);
    let machine = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, SeccompAction::Trap, SeccompAction::Allow, machine)?.try_into()
}

/// Where the handler below writes.
static FORBIDDEN: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::null_mut());

/// Has the number of a forbidden call written down before the process ends of it.
fn tell_forbidden(progress: &Progress) {
    FORBIDDEN.store(progress.forbidden_cell().cast_mut(), Ordering::Release);
    // SAFETY: all zero is a valid `sigaction`; the handler is async-signal-safe: it stores a word and ends the process.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = forbidden as *const () as libc::sighandler_t;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigaction(libc::SIGSYS, &raw const action, ptr::null_mut());
    }
}

extern "C" fn forbidden(_: libc::c_int, about: *mut libc::siginfo_t, _: *mut libc::c_void) {
    /// Linux lays a `siginfo_t` of SIGSYS out so: three numbers, filling, an address, the call's number.
    const CALL_AT: usize = 24;
    let cell = FORBIDDEN.load(Ordering::Acquire);
    if !about.is_null() && !cell.is_null() {
        // SAFETY: the kernel's `siginfo_t` is longer than that, and the page of progress is mapped for good.
        unsafe {
            let number = about.cast::<u8>().add(CALL_AT).cast::<i32>().read_unaligned();
            (*cell).store(u64::try_from(number).unwrap_or(0) + 1, Ordering::Relaxed);
        }
    }
    // SAFETY: ends the process at once.
    unsafe { libc::_exit(128 + libc::SIGSYS) }
}

/// What a policy tried when it made a call that is forbidden.
pub(super) fn attempt(number: i64) -> String {
    let known: &[(&[c_long], &str, &str)] = &[
        (&[libc::SYS_openat], "open files", "openat"),
        (&[libc::SYS_socket], "open sockets", "socket"),
        (&[libc::SYS_connect], "open sockets", "connect"),
        (&[libc::SYS_clone], "start processes or threads", "clone"),
        (&[libc::SYS_clone3], "start processes or threads", "clone3"),
        (&[libc::SYS_execve], "start processes", "execve"),
        (&[libc::SYS_unlinkat], "remove files", "unlinkat"),
        (&[libc::SYS_kill], "send signals", "kill"),
        (&[libc::SYS_rt_sigaction], "handle this signal", "rt_sigaction"),
        (&[libc::SYS_mmap, libc::SYS_mprotect], "make code", "mmap or mprotect"),
        #[cfg(target_arch = "x86_64")]
        (&[libc::SYS_open], "open files", "open"),
        #[cfg(target_arch = "x86_64")]
        (&[libc::SYS_fork, libc::SYS_vfork], "start processes", "fork"),
    ];
    match known.iter().find(|(numbers, ..)| numbers.contains(&number)) {
        Some((_, what, name)) => format!("a policy may not {what}: system call {name}"),
        None => format!("a policy may only compute: system call {number}"),
    }
}
