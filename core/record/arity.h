/* How many arguments each x86-64 call takes (Linux: arch/x86/entry/syscalls/syscall_64.tbl and the definitions of its
 * calls, up to 6.18), a digit a call, ten a line. What is not here takes six: then all registers are kept. */
#ifndef PH_RECORD_ARITY_H
#define PH_RECORD_ARITY_H

static const char call_arity[] =
	"3331222336"	/* 0 read */
	"3214403443"	/* 10 mprotect */
	"3215053333"	/* 20 writev */
	"3312022130"	/* 30 shmat */
	"4333663323"	/* 40 sendfile */
	"2334555003"	/* 50 listen */
	"1421334124"	/* 60 exit */
	"5332112232"	/* 70 msgrcv */
	"1122122123"	/* 80 chdir */
	"2233312221"	/* 90 chmod */
	"1403011002"	/* 100 times */
	"0002222333"	/* 110 getppid */
	"3111122243"	/* 120 getresgid */
	"2223112223"	/* 130 rt_sigsuspend */
	"2322311122"	/* 140 getpriority */
	"2100321521"	/* 150 munlock */
	"2101252214"	/* 160 setrlimit */
	"2213632664"	/* 170 sethostname */
	"3556660355"	/* 180 nfsservctl */
	"5444333222"	/* 190 fsetxattr */
	"2163312153"	/* 200 tkill */
	"3131445310"	/* 210 io_cancel */
	"4434211222"	/* 220 semtimedop */
	"4144325635"	/* 230 clock_nanosleep */
	"4155234554"	/* 240 mq_open */
	"5320324434"	/* 250 keyctl */
	"5343453433"	/* 260 fchownat */
	"6512364446"	/* 270 pselect6 */
	"4632144244"	/* 280 utimensat */
	"2132155455"	/* 290 eventfd2 */
	"2545321423"	/* 300 fanotify_init */
	"6653345332"	/* 310 process_vm_readv */
	"5351336664"	/* 320 kexec_file_load */
	"2156400"	/* 330 pkey_alloc */
	;

#define ARITY_LATE_FROM 424

static const char call_arity_late[] =
	"426435"	/* 424 pidfd_send_signal */
	"2533223434"	/* 430 fsopen */
	"5654342125"	/* 440 process_madvise */
	"4443464444"	/* 450 set_mempolicy_home_node */
	"4336654555"	/* 460 lsm_set_self_attr */
	;

#endif
