/* What a rule's generated C may use: the named mechanisms of the runtime, and nothing else.
 * Each has a twin in the prover's model (src/peephole/prove/) and a test that holds the two together.
 * docs/rule-language.md says what each one means. Every value is a signed 64-bit number; a result is a
 * count or -errno, as the kernel gives it. */
#ifndef PH_RUNTIME_RULE_H
#define PH_RUNTIME_RULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ph_k;		/* the rule's view of the kernel for one call: opaque to the rule */

/* The state of one open file description in one rule. The generated struct begins with this header;
 * the rule's own int64_t fields follow. `len` is the buffer's committed length, `hits` what k.hit() counted and the
 * control page does not know yet. */
struct ph_state {
	int64_t len;
	int64_t hits;
};

typedef int64_t (*ph_handler)(struct ph_k *k, struct ph_state *f, const int64_t a[6]);

struct ph_handles {
	int32_t nr;		/* system call number */
	int32_t fd_arg;		/* which argument is the descriptor whose state is `f`; -1: called with f == NULL */
	int32_t may_answer;	/* some path returns without any kernel call: worth trying without a lock on signals */
	int32_t glances;	/* it changes no state: what it receives at once is the answer, lock or no lock */
	ph_handler run;
};

struct ph_rule {
	const char *name;
	const char *digest;	/* sha256 of the rule's source, as in its certificate */
	uint32_t state_bytes;	/* sizeof the generated struct, <= PH_STATE_MAX */
	uint32_t process_bytes;	/* 0, or sizeof the generated struct of the process's state, <= PH_STATE_MAX */
	uint32_t streams;	/* 1: the states are of connected stream sockets, not of regular files */
	uint32_t pipes;		/* 1: the states are of pipes that this process alone reads */
	uint32_t interest;	/* 1: the states are of places in interest lists, and only waits could tell what is pending */
	uint32_t place;		/* 1: what is pending is only where a description stands, which its own descriptors alone can tell */
	uint32_t tag_at;	/* where in a state the tag of its events stands, for `ready` */
	uint32_t buffer_bytes;	/* 0, or the capacity of the buffer of each state */
	bool (*pending)(struct ph_k *k, struct ph_state *f, int64_t fd);
	int64_t (*settle)(struct ph_k *k, struct ph_state *f, int64_t fd);	/* 0 or more, or -errno */
	int64_t (*forget)(struct ph_k *k, struct ph_state *f, int64_t fd);	/* or NULL: nothing is remembered */
	int64_t (*ready)(struct ph_k *k, struct ph_state *f, int64_t fd);	/* or NULL: which epoll surely has EPOLLOUT of it, or -1 */
	const struct ph_handles *handles;
	uint32_t n_handles;
	bool lists;		/* asks what folders do not have (ph_absent) */
	bool examines;		/* answers what files were (ph_examined) */
	bool looks;		/* answers by what was seen of a file that the program has just looked at (ph_seen) */
	bool owes;		/* answers syncs that are made later (ph_owe) */
	bool not_alone;		/* the states stay when the process has the file open elsewhere, or mapped */
	bool reads_ahead;	/* the buffer holds what the file holds, not what is to be written to it */
	bool bits;		/* keeps back what becomes of descriptors' bits (ph_k_setfd) */
	bool recalls;		/* asks what actions of signals are known */
	bool effects;		/* what is pending changes what others see; else settling only forgets what was known */
};

#define PH_STATE_MAX 128
#define PH_BUFFER_MAX 65536

/* --- the call itself --------------------------------------------------------------------------------- */
int64_t ph_forward(struct ph_k *k);		/* the call as the program made it, to the next layer; at most once */
bool ph_ok(int64_t r);				/* r >= 0 */

/* --- kernel calls that a rule may issue: they go to the next layer, at last to the kernel ------------- */
int64_t ph_k_openat(struct ph_k *k, int64_t dir, int64_t path, int64_t flags, int64_t mode);
int64_t ph_k_close(struct ph_k *k, int64_t fd);	/* what this handler opened itself, before the program has seen it */
int64_t ph_k_ftruncate(struct ph_k *k, int64_t fd, int64_t size);
int64_t ph_k_lseek(struct ph_k *k, int64_t fd, int64_t offset, int64_t whence);
int64_t ph_k_setfl(struct ph_k *k, int64_t fd, int64_t flags);	/* F_SETFL with these flags added to F_GETFL's */

/* F_SETFD: a bit of the descriptor fd, which is the only one of its description. */
int64_t ph_k_setfd(struct ph_k *k, int64_t fd, int64_t bits);

/* --- settling ---------------------------------------------------------------------------------------- */
int64_t ph_settle(struct ph_k *k, int64_t fd);	/* this rule's pending effects on fd; 0 or -errno */
int64_t ph_settle_all(struct ph_k *k);		/* on every description, this rule's and those of upper layers */

/* --- descriptors ------------------------------------------------------------------------------------- */
/* State for a description just opened; NULL when it may not be handled here (then the why is counted):
 * no free slot, descriptor too large. A NULL f is never dereferenced: generated code tests it. */
struct ph_state *ph_file(struct ph_k *k, int64_t fd);
/* The rule has no state on fd's description any more, and nothing pending there: its calls go to the kernel as they are. */
void ph_release(struct ph_k *k, int64_t fd);
bool ph_regular(struct ph_k *k, int64_t fd);	/* a regular file on a mount that the plan covers for this rule */
bool ph_private(struct ph_k *k, int64_t fd);	/* opened by this process, never shared since (fork, SCM_RIGHTS, mmap, exec) */
bool ph_alone(struct ph_k *k, int64_t fd);	/* private, and no other description of this process names the file */
int64_t ph_unopened(struct ph_k *k, int64_t fd);	/* 1: nothing is open there, and nothing else than close has been
						 * called since that was looked up; only while there is one thread */
int64_t ph_clones(struct ph_k *k, int64_t fd);	/* 0: surely on a file system without reflinks, where FICLONE never
						 * changes anything (ext2/3/4, tmpfs by fstatfs); else 1 */
bool ph_writable(int64_t flags);		/* O_WRONLY or O_RDWR in open's flags */
int64_t ph_size(struct ph_k *k, int64_t fd);	/* st_size, or -errno */
int64_t ph_position(struct ph_k *k, int64_t fd);/* lseek(fd, 0, SEEK_CUR) */

/* --- the process ------------------------------------------------------------------------------------- */
void *ph_process(struct ph_k *k);		/* this rule's state of the process; never NULL */
/* Whether it has one thread; before there is a second, places settle. */
bool ph_single(struct ph_k *k);

/* --- actions of signals ---------------------------------------------------------------------------------- */
enum { PH_ACT_HANDLER, PH_ACT_FLAGS, PH_ACT_RESTORER, PH_ACT_MASK };	/* the words of the kernel's struct sigaction */
/* A part of the action at `act`, as the kernel will keep it; -1 when it can't be read, or has flags that some kernels drop. */
int64_t ph_action_part(struct ph_k *k, int64_t act, int64_t part);
/* A part of what the program has last set for this signal; -1 when that is not known. */
int64_t ph_action_recalled(struct ph_k *k, int64_t signal, int64_t part);
/* Whether setting this handler throws away a signal that is held back: it would do nothing. */
bool ph_action_discards(int64_t signal, int64_t handler);
void ph_action_unsure(struct ph_k *k, int64_t signal);		/* it is about to be set */
void ph_action_remember(struct ph_k *k, int64_t signal, int64_t handler, int64_t flags, int64_t restorer, int64_t mask);
int64_t ph_action_give(struct ph_k *k, int64_t old, int64_t handler, int64_t flags, int64_t restorer, int64_t mask);	/* 0, or -EFAULT */

/* --- the buffer of a state (buffer_bytes > 0) ---------------------------------------------------------- */
int64_t ph_buffer_len(struct ph_state *f);
int64_t ph_buffer_room(struct ph_k *k, struct ph_state *f);
/* Append n bytes of the program's memory: n, or -EFAULT with the buffer unchanged. n must fit. */
int64_t ph_buffer_append(struct ph_k *k, struct ph_state *f, int64_t user, int64_t n);
/* Of the `count` struct iovec at `iov`: how many bytes they name, or -errno, also when they are more than a few; and all
 * of those appended, as above. */
int64_t ph_vector_total(struct ph_k *k, int64_t iov, int64_t count);
int64_t ph_buffer_append_vector(struct ph_k *k, struct ph_state *f, int64_t iov, int64_t count);
void ph_buffer_clear(struct ph_state *f);
/* write()/pwrite() of the first `len` bytes (a length kept by the rule, since it clears its state before its own
 * calls), repeated after short counts: len, or the -errno of the first failure. EINTR is repeated. */
int64_t ph_k_write_all(struct ph_k *k, int64_t fd, struct ph_state *f, int64_t len);
int64_t ph_k_pwrite_all(struct ph_k *k, int64_t fd, struct ph_state *f, int64_t len, int64_t offset);

/* pread() at `offset` of as much as the buffer holds, which it then holds: the count, 0 at the end of the file, or
 * -errno and an empty buffer. */
int64_t ph_k_fill(struct ph_k *k, int64_t fd, struct ph_state *f, int64_t offset);
/* Copy n bytes of the buffer from `offset` on to the program's memory: n, or -EFAULT. They must lie inside. */
int64_t ph_buffer_give(struct ph_k *k, struct ph_state *f, int64_t user, int64_t offset, int64_t n);

/* n bytes of fd's file from `offset` on, as a mapping of it shows them, to the program's memory: n, or -errno where the file
 * ends before them, or a window can't be mapped. In the page where the file ends, what lies beyond its end is zero. */
int64_t ph_copy_mapped(struct ph_k *k, int64_t fd, int64_t user, int64_t offset, int64_t n);

/* --- syncs ---------------------------------------------------------------------------------------------- */
int64_t ph_k_fsync(struct ph_k *k, int64_t fd);
int64_t ph_k_fdatasync(struct ph_k *k, int64_t fd);
/* Milliseconds since some process of the tree last made a sync of fd's file; a large number when that is not known. */
int64_t ph_sync_age(struct ph_k *k, int64_t fd);
/* 1: the sync that the program asks for on fd will be made before any process of the tree changes another file or a name,
 * and in `ms` by the keeper, or by the process itself where it waits in epoll_wait; 0: it can't be put off. */
int64_t ph_owe(struct ph_k *k, int64_t fd, int64_t ms);
int64_t ph_now_ms(struct ph_k *k);		/* a clock that never goes back, in milliseconds */

/* --- names ----------------------------------------------------------------------------------------------- */
/* 1: a listing of the path's folder lacks it, and since then the program has changed no name, and has not communicated. */
int64_t ph_absent(struct ph_k *k, int64_t dir, int64_t path);
/* 1: the struct stat at `to` is set to what the file was when the keeper examined it, and no process of the tree has changed it since. */
int64_t ph_examined(struct ph_k *k, int64_t dir, int64_t path, int64_t to, int64_t flags);
/* Whether both names are there, in one directory, of two different regular files, on a mount that the plan covers and
 * whose file system writes a file out when it is renamed over another (ext4 with a journal). */
bool ph_replaceable(struct ph_k *k, int64_t old_dir, int64_t old, int64_t new_dir, int64_t new);
int64_t ph_k_exchange(struct ph_k *k, int64_t old_dir, int64_t old, int64_t new_dir, int64_t new);
int64_t ph_k_unlinkat(struct ph_k *k, int64_t dir, int64_t path);

/* --- attributes of files ----------------------------------------------------------------------------------- */
/* Before the program's statx: a number for what it will see of the path, or 0 where that is not followed; and after it, with
 * what it has written to `statx`. */
int64_t ph_look(struct ph_k *k, int64_t dir, int64_t path);
void ph_looked(struct ph_k *k, int64_t look, int64_t path, int64_t statx);
/* A number for what the program has seen of this path, if it has made no call since that could change the file or lead the
 * path elsewhere, else 0. Of that: the file, as the path names it; when its inode has changed, or -1; whether it is a symbolic
 * link. */
int64_t ph_seen(struct ph_k *k, int64_t path);
int64_t ph_seen_file(struct ph_k *k, int64_t seen);
int64_t ph_seen_time(struct ph_k *k, int64_t seen);
bool ph_seen_link(struct ph_k *k, int64_t seen);
/* A number for the attribute of this name; 0: of its absence nothing may be remembered. */
int64_t ph_attribute(struct ph_k *k, int64_t name);
/* Milliseconds between a change time and the clock that changes now would be given; above 0, every one gets another time. */
int64_t ph_age(struct ph_k *k, int64_t changed);
/* The tree's table: that a file with this change time lacks this attribute; and whether it says so, in doubt 0. */
void ph_lacks(struct ph_k *k, int64_t file, int64_t changed, int64_t attribute);
int64_t ph_lacked(struct ph_k *k, int64_t file, int64_t changed, int64_t attribute);

/* --- stream sockets -------------------------------------------------------------------------------------- */
/* How many bytes, beside those that rules keep, the kernel surely takes on this socket without waiting, as long as the
 * connection holds; 0 when that can't be said. And what n bytes take of it. */
int64_t ph_roomy(struct ph_k *k, int64_t fd);
int64_t ph_cost(struct ph_k *k, int64_t n);
int64_t ph_k_receive(struct ph_k *k, int64_t fd, int64_t user, int64_t n);	/* read() that does not wait: else -EAGAIN */
/* epoll_wait() that does not wait: how many events are there, or -errno. 0 also now and then when there are some, so that
 * nothing is kept for ever. */
int64_t ph_k_ready(struct ph_k *k, int64_t epoll, int64_t events, int64_t n);
/* The buffer's first `len` bytes to the peer: len, or -errno, and then the connection is over. Raises no SIGPIPE. */
int64_t ph_k_send_all(struct ph_k *k, int64_t fd, struct ph_state *f, int64_t len);
/* The same of bytes that more will follow at once; and, when nothing did, that the kernel waits no longer for it. */
int64_t ph_k_send_more(struct ph_k *k, int64_t fd, struct ph_state *f, int64_t len);
void ph_k_push(struct ph_k *k, int64_t fd);

/* --- pipes ------------------------------------------------------------------------------------------------ */
/* What the pipe holds at this moment, into the buffer; it stays in the pipe. The count, which may be 0. */
int64_t ph_k_peek(struct ph_k *k, int64_t fd, struct ph_state *f);
int64_t ph_k_consume(struct ph_k *k, int64_t fd, int64_t n);	/* takes n bytes out of it, which are there: 0 */

/* --- interest lists of epolls ---------------------------------------------------------------------------- */
/* Whether no other thread of the process can wait on this epoll, and it is seen when the number is closed. */
bool ph_watchable(struct ph_k *k, int64_t epoll);
/* Of the struct epoll_event at `event`: its mask, or -1 when it can't be read or is not plainly level-triggered; its tag. */
int64_t ph_level(struct ph_k *k, int64_t event);
int64_t ph_tag(struct ph_k *k, int64_t event);
bool ph_asks_out(int64_t mask);			/* EPOLLOUT */
int64_t ph_k_watch(struct ph_k *k, int64_t epoll, int64_t op, int64_t fd, int64_t mask, int64_t tag);	/* epoll_ctl */
/* EPOLLOUT of every description whose `ready` names this epoll, as epoll_wait would tell it: how many. 0 also now and
 * then when there are some, so that the kernel's own events are not kept waiting. */
int64_t ph_known(struct ph_k *k, int64_t epoll, int64_t events, int64_t n);

/* --- answers that live in the program's memory --------------------------------------------------------- */
/* After a successful forward of fstat/newfstatat(AT_EMPTY_PATH): set st_size, and st_blocks to 0 when size is 0. */
int64_t ph_stat_set_size(struct ph_k *k, int64_t statbuf, int64_t size);

/* --- sleeping -------------------------------------------------------------------------------------------- */
/* How often in a row this thread has asked for just the sleep at `request` (a struct timespec), with no other call
 * that reaches the dispatcher in between: 1 the first time, 0 when it can't be read. */
int64_t ph_in_a_row(struct ph_k *k, int64_t request);
/* nanosleep or clock_nanosleep as the program asked for it, cut to a short while that grows with `times`. What a first one
 * (`times` 0) was cut by, the thread sleeps before its next call, unless that is the same sleep again. */
int64_t ph_nap(struct ph_k *k, int64_t request, int64_t times);

/* --- counters ------------------------------------------------------------------------------------------ */
void ph_hit(struct ph_k *k);			/* generated where a call was answered or made cheaper */

#endif
