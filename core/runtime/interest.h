/* Which descriptors are epolls: their places hold what rules about interest have pending. */
#ifndef PH_RUNTIME_INTEREST_H
#define PH_RUNTIME_INTEREST_H

#include <stdint.h>

#include "peephole/abi_control.h"

enum ph_fd_epoll { PH_FD_NOT_ASKED, PH_FD_IS_EPOLL, PH_FD_IS_NONE };

/* What is known of fd; and asking the kernel (by /proc). */
enum ph_fd_epoll ph_fd_epoll(int64_t fd);
void ph_fd_ask_epoll(int64_t fd);

/* The number of an epoll is about to mean something else; a socket gets a second descriptor. */
void ph_leave_epoll(int64_t fd);
void ph_leave_lists(int64_t fd);

/* Before a call that may block, or that others see: what is pending where they could look. */
void ph_settle_seen(enum ph_why why);

/* A call that no rule sees names fd: what they remember of it may be wrong. */
void ph_forget_named(int64_t fd);

#endif
