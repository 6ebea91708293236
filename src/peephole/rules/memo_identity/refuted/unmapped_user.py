"""A wrong neighbour, kept so that the prover must refute it."""

from peephole.prove.vocabulary import (
    PerProcess,
    Rule,
    num,
    result,
    word,
)


class MemoIdentity(Rule):
    """Breaks results.

    The user of a namespace whose map is not written yet is remembered.
    """

    class Process(PerProcess):
        pid_known: bool
        pid: num
        changed: bool  # some thread has set a user or group
        uid_known: bool
        uid: num
        euid_known: bool
        euid: num
        gid_known: bool
        gid: num
        egid_known: bool
        egid: num

    def getpid(k, p) -> result:
        if p.pid_known:
            k.hit()
            return p.pid
        r = k.forward()
        p.pid = r
        p.pid_known = True
        return r

    def getuid(k, p) -> result:
        if p.uid_known:
            k.hit()
            return p.uid
        r = k.forward()
        p.uid = r
        p.uid_known = not p.changed
        return r

    def geteuid(k, p) -> result:
        if p.euid_known:
            k.hit()
            return p.euid
        r = k.forward()
        p.euid = r
        p.euid_known = not p.changed
        return r

    def getgid(k, p) -> result:
        if p.gid_known:
            k.hit()
            return p.gid
        r = k.forward()
        p.gid = r
        p.gid_known = not p.changed
        return r

    def getegid(k, p) -> result:
        if p.egid_known:
            k.hit()
            return p.egid
        r = k.forward()
        p.egid = r
        p.egid_known = not p.changed
        return r

    def setuid(k, p, uid: word) -> result:
        p.changed = True
        p.uid_known = False
        p.euid_known = False
        p.gid_known = False
        p.egid_known = False
        return k.forward()

    def setgid(k, p, gid: word) -> result:
        p.changed = True
        p.uid_known = False
        p.euid_known = False
        p.gid_known = False
        p.egid_known = False
        return k.forward()

    def setreuid(k, p, ruid: word, euid: word) -> result:
        p.changed = True
        p.uid_known = False
        p.euid_known = False
        p.gid_known = False
        p.egid_known = False
        return k.forward()

    def setregid(k, p, rgid: word, egid: word) -> result:
        p.changed = True
        p.uid_known = False
        p.euid_known = False
        p.gid_known = False
        p.egid_known = False
        return k.forward()

    def setresuid(k, p, ruid: word, euid: word, suid: word) -> result:
        p.changed = True
        p.uid_known = False
        p.euid_known = False
        p.gid_known = False
        p.egid_known = False
        return k.forward()

    def setresgid(k, p, rgid: word, egid: word, sgid: word) -> result:
        p.changed = True
        p.uid_known = False
        p.euid_known = False
        p.gid_known = False
        p.egid_known = False
        return k.forward()
