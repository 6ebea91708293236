/* A static program with the runtime in it from its first instruction on. */
#ifndef PH_ATTACH_EXEC_H
#define PH_ATTACH_EXEC_H

/* Becomes `program` with `argv` and our environment; a helper that is nobody's child puts the runtime in before it begins.
 * `folder` holds control, libpeephole.so and peephole-attach. Returns only when the program can't be executed. */
int exec_covered(const char *folder, const char *program, char **argv);

#endif
