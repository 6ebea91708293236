"""Answer that a file lacks an attribute which it lacked before, if the file has not changed since."""

from peephole.prove.vocabulary import (
    AT_SYMLINK_NOFOLLOW,
    ENODATA,
    FRESHNESS,
    Rule,
    buf,
    fd,
    flags,
    num,
    ok,
    path,
    result,
    word,
)


class AbsentXattr(Rule):
    """Answer that a file lacks an attribute which it lacked before, if the file has not changed since.

    `ls -l` asks of each file for its label and its access list, after a statx; most have neither. This rule remembers
    which file lacked which attribute, in a table that all programs of an improved command share: a later one is told so
    when its own statx shows the same file with the same change time. Others can change the file between that statx and
    the question; what they change before is seen. What has changed within the last step of the kernel's clock is not
    remembered, since a change that follows could have the same time. docs/rules.md says what all this rests on.

    It pays from the second command of a shell on. To learn costs: a first `ls -lR` of 20,000 files uses 1.19 of its
    CPU, each later one 0.57 (0.56 to 0.58, 15 pairs, a machine with other work; `python -m bench rules --load
    absent_xattr.ls_again`). What learning costs is not weighed while the rule runs. Programs that look by other calls
    than statx gain nothing.
    """

    relaxes = {FRESHNESS}

    def statx(k, dir: fd, name: path, flags: flags, mask: word, out: buf) -> result:
        look = k.look(dir, name)
        r = k.forward()
        if ok(r) and flags & AT_SYMLINK_NOFOLLOW:
            k.looked(look, name, out)
        return r

    def lgetxattr(k, name: path, attribute: path, value: buf, size: num) -> result:
        seen = k.seen(name)
        which = k.attribute(attribute)
        file = k.seen_file(seen)
        changed = k.seen_time(seen)
        if which == 0 or changed < 0:
            return k.forward()
        known = k.lacked(file, changed, which)
        if known == 1:
            k.hit()
            return -ENODATA
        r = k.forward()
        if r == -ENODATA and k.age(changed) > 0:
            k.lacks(file, changed, which)
        return r

    def getxattr(k, name: path, attribute: path, value: buf, size: num) -> result:
        seen = k.seen(name)
        which = k.attribute(attribute)
        link = k.seen_link(seen)
        file = k.seen_file(seen)
        changed = k.seen_time(seen)
        if which == 0 or link or changed < 0:
            return k.forward()
        known = k.lacked(file, changed, which)
        if known == 1:
            k.hit()
            return -ENODATA
        r = k.forward()
        if r == -ENODATA and k.age(changed) > 0:
            k.lacks(file, changed, which)
        return r
