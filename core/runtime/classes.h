/* What is done with a call, by the class that calls.def gives it. */
#ifndef PH_RUNTIME_CLASSES_H
#define PH_RUNTIME_CLASSES_H

#include "calls.h"
#include "layers.h"

/* classes.c */
enum ph_verdict ph_on_inert(struct ph_call *c);
enum ph_verdict ph_on_fd(struct ph_call *c);
enum ph_verdict ph_on_wait(struct ph_call *c);
enum ph_verdict ph_on_any(struct ph_call *c);
bool ph_any_is_plain(int64_t nr);

/* fds.c */
enum ph_verdict ph_on_dup(struct ph_call *c, int64_t from, int64_t to);
enum ph_verdict ph_on_close(struct ph_call *c);
enum ph_verdict ph_on_close_range(struct ph_call *c);
enum ph_verdict ph_on_open(struct ph_call *c);
enum ph_verdict ph_on_mmap(struct ph_call *c);

/* answer.c: once, when the layers are known. */
void ph_answers_init(void);
bool ph_answer_tries(int64_t nr);	/* calls that ph_answer has tried without a descriptor */

/* whole.c */
bool ph_at_work(void);			/* whether rules are; a fork's child, before it does anything, begins anew */
bool ph_switched_off(void);		/* whether no rule is left, after those have gone whose switches were thrown */

/* What makes a call noteworthy that no rule handles, on a descriptor that none knows. All 0: it passes at once. */
union ph_notable {
	uint64_t any;
	struct {
		uint16_t naps;		/* threads whose last call was a sleep (naps.c) */
		uint16_t folders;	/* names that folders lack are known (absent.c) */
		uint8_t closes;		/* in a row, until now (descriptions.c) */
		uint8_t files;		/* a file was looked at, or is being (attributes.c) */
		uint16_t changes;	/* of files, that threads are in the middle of for all that is known (changes.c) */
	};
};
extern union ph_notable ph_notable;

static inline enum ph_verdict ph_answered_by(struct ph_call *c, int64_t r)
{
	c->ret = r;
	return PH_ANSWERED;
}

static inline bool ph_is_dup(const struct ph_call *c)
{
	return c->nr == PH_NR_fcntl && ((int32_t)c->a[1] == PH_F_DUPFD || (int32_t)c->a[1] == PH_F_DUPFD_CLOEXEC);
}

/* What concerns the number only, not the description, and no rule that knows bits of numbers. */
static inline bool ph_is_of_descriptor(const struct ph_call *c, const struct ph_description *d)
{
	return c->nr == PH_NR_fcntl && ((int32_t)c->a[1] == PH_F_GETFD || (int32_t)c->a[1] == PH_F_SETFD) &&
	       !(d && (d->handled & ph_bit_layers));
}

#endif
