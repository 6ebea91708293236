"""A wrong neighbour, kept so that the prover must refute it."""

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
    """Breaks results.

    Another file that changed at the same time may have the attribute.
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
        changed = k.seen_time(seen)
        if which == 0 or changed < 0:
            return k.forward()
        known = k.lacked(0, changed, which)
        if known == 1:
            k.hit()
            return -ENODATA
        r = k.forward()
        if r == -ENODATA and k.age(changed) > 0:
            k.lacks(0, changed, which)
        return r

    def getxattr(k, name: path, attribute: path, value: buf, size: num) -> result:
        seen = k.seen(name)
        which = k.attribute(attribute)
        link = k.seen_link(seen)
        changed = k.seen_time(seen)
        if which == 0 or link or changed < 0:
            return k.forward()
        known = k.lacked(0, changed, which)
        if known == 1:
            k.hit()
            return -ENODATA
        r = k.forward()
        if r == -ENODATA and k.age(changed) > 0:
            k.lacks(0, changed, which)
        return r
