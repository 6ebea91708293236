/* The open file description that a call names, and its file. */
#ifndef PH_RECORD_FILE_BPF_H
#define PH_RECORD_FILE_BPF_H

#include "state.bpf.h"

#define S_IFMT_SHIFT 12

/* A kernel pointer made readable by plain loads (Linux 6.2): each helper call it saves is 25 ns. */
extern void *bpf_rdonly_cast(void *obj, __u32 btf_id) __ksym __weak;

/* A pointer in kernel memory, as the member of a struct that plain loads can follow. */
struct llist_node;

/* By a cast pointer: for each step from one that it trusts, the verifier goes through all names of the kernel's types. */
static __always_inline struct file *file_of(struct task_struct *task, __u32 fd)
{
	struct file *file = NULL;
	struct fdtable *fdt;

	if (bpf_rdonly_cast) {
		struct task_struct *plain = bpf_rdonly_cast(task, bpf_core_type_id_kernel(struct task_struct));
		struct llist_node *slot;

		fdt = plain->files->fdt;
		if (fd >= fdt->max_fds)
			return NULL;
		slot = bpf_rdonly_cast(fdt->fd + fd, bpf_core_type_id_kernel(struct llist_node));
		return (struct file *)slot->next;
	}
	fdt = task->files->fdt;
	if (!fdt || fd >= fdt->max_fds)
		return NULL;
	bpf_probe_read_kernel(&file, sizeof(file), fdt->fd + fd);
	return file;
}

/* new_encode_dev(): the bits as stat() shows them */
static __always_inline __u32 encode_dev(__u32 dev)
{
	__u32 major = dev >> 20, minor = dev & 0xfffff;

	return (minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12);
}

static __always_inline void read_file(struct ph_call *call, struct ph_file *to, struct file *file)
{
	struct inode *inode = BPF_CORE_READ(file, f_inode);

	to->offset = BPF_CORE_READ(file, f_pos);
	to->ino = BPF_CORE_READ(inode, i_ino);
	call->ftype = BPF_CORE_READ(inode, i_mode) >> S_IFMT_SHIFT;
	to->size = BPF_CORE_READ(inode, i_size);
	to->dev = encode_dev(BPF_CORE_READ(inode, i_sb, s_dev));
}

/* Into `to`; the type goes to the record's beginning. */
static __always_inline void fill_file(struct ph_call *call, struct ph_file *to, struct file *file, __s32 fd)
{
	to->file = (__u64)file;
	to->fd = fd;
	if (bpf_rdonly_cast) {
		struct file *open = bpf_rdonly_cast(file, bpf_core_type_id_kernel(struct file));
		struct inode *inode = open->f_inode;

		to->offset = open->f_pos;
		to->ino = inode->i_ino;
		call->ftype = inode->i_mode >> S_IFMT_SHIFT;
		to->size = inode->i_size;
		to->dev = encode_dev(inode->i_sb->s_dev);
	} else {
		read_file(call, to, file);
	}
}

static __always_inline void clear_file(struct ph_file *to)
{
	to->file = 0;
	to->ino = 0;
	to->size = 0;
	to->offset = 0;
	to->fd = -1;
	to->dev = 0;
}

#endif
