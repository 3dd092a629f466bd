package tree

import (
	"encoding/hex"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"signet"
)

// EscapeName gives the name under which replay keeps a node that asked for
// name: name itself unless it is empty, ".", "..", holds "/" or NUL, or is
// over MaxName bytes. Two names can be escaped alike: equal siblings both live.
func EscapeName(name string) string {
	switch name {
	case "":
		return "%"
	case ".":
		return "%2E"
	case "..":
		return "%2E%2E"
	}
	if strings.ContainsAny(name, "/\x00") {
		name = strings.NewReplacer("/", "%2F", "\x00", "%00").Replace(name)
	}
	return cut(name, MaxName)
}

// ConflictName is the name of the conflict copy id of a node called name:
// "stem (conflict 2026-03-01 1405 label 9f3c).ext", in UTC. It has no character
// that Windows forbids besides those name has, is at most MaxName bytes long,
// and does not grow when a conflict copy is conflicted again. ms is the leaf
// time of the losing entry, milliseconds since 1970.
func ConflictName(name string, ms int64, label string, id signet.NodeID) string {
	return suffixed(name, ms, label, hex.EncodeToString(id[:2]))
}

func suffixed(name string, ms int64, label, digits string) string {
	stem, ext := splitName(name)
	if i := conflictSuffix(stem); i >= 0 {
		stem = stem[:i]
	}
	words := " (conflict " + time.UnixMilli(ms).UTC().Format("2006-01-02 1504")
	if label = cleanLabel(label); label != "" {
		words += " " + label
	}
	words += " " + digits + ")"
	room := MaxName - len(words) - len(ext)
	if room < 1 { // an extension no program means: it is cut with the rest
		stem, ext = stem+ext, ""
		room = MaxName - len(words)
	}
	return cut(stem, room) + words + ext
}

// cleanLabel takes out of a device's name what a file name cannot have on some
// system, and what would hide the suffix's end.
func cleanLabel(s string) string {
	s = strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f || strings.ContainsRune(`<>:"/\|?*()`, c) {
			return '_'
		}
		return c
	}, strings.ToValidUTF8(s, "_"))
	return strings.TrimSpace(s)
}

var packed = []string{".gz", ".bz2", ".xz", ".zst", ".lz", ".lz4", ".br", ".Z", ".gpg", ".age"}

// splitName cuts a name before its extension: the last dot that is not the
// first byte, and one more before a compressor's (".tar.gz").
func splitName(name string) (stem, ext string) {
	const longest = 16
	i := strings.LastIndexByte(name, '.')
	if i <= 0 || len(name)-i > longest || strings.Contains(name[i:], " ") {
		return name, ""
	}
	if slices.Contains(packed, name[i:]) {
		if j := strings.LastIndexByte(name[:i], '.'); j > 0 && i-j <= longest && !strings.Contains(name[j:i], " ") {
			i = j
		}
	}
	return name[:i], name[i:]
}

// conflictSuffix is where the suffix of an earlier conflict begins, or -1.
func conflictSuffix(stem string) int {
	const mark = " (conflict "
	i := strings.LastIndex(stem, mark)
	if i < 1 || !strings.HasSuffix(stem, ")") {
		return -1
	}
	date, rest := stem[i+len(mark):len(stem)-1], "0000-00-00 0000 "
	if len(date) < len(rest)+4 {
		return -1
	}
	for k := range rest {
		digit := '0' <= date[k] && date[k] <= '9'
		if (rest[k] == '0') != digit || rest[k] != '0' && rest[k] != date[k] {
			return -1
		}
	}
	last := date[strings.LastIndexByte(date, ' ')+1:]
	if _, err := hex.DecodeString(last); err != nil || len(last) < 4 {
		return -1
	}
	return i
}

// Caps says what names a disk can hold. The zero Caps is a disk for which
// equal bytes alone are equal names and every name is fit.
type Caps struct {
	// Key maps names that the disk takes for one to one string: case folding,
	// NFC. Nil: the name itself.
	Key func(name string) string
	// Unfit reports whether the disk cannot hold name: a reserved word, an
	// invalid character, not UTF-8. Nil: it holds all. What is unfit gets the
	// name that Mend gives, which must be fit. Where the disk takes that for
	// the same name, it only spells it in a way of its own.
	Unfit func(name string) bool
	Mend  func(name string) string
}

// Hidden is the name at the top of a volume that is Signet's own: a node of
// that name there gets an alias.
const Hidden = ".signet"

// Names gives every live child of a folder the name that it has on a disk: its
// own, if no other child has a right to it, or an alias. The lowest journal
// position of a place has the right. The function is injective under
// caps.Key, depends on the tree and caps alone, and is not written back.
func (t *Tree) Names(parent signet.NodeID, caps Caps) map[signet.NodeID]string {
	p := t.find(parent)
	if p == nil || p.gone != nil || p.more == nil {
		return nil
	}
	names := map[signet.NodeID]string{}
	for k := p.more.live; k != nil; k = k.next {
		names[k.id] = k.name()
	}
	maps.Copy(names, t.Aliases(parent, caps))
	return names
}

// Aliases is the part of Names that is not simply Node.Name: mostly empty.
func (t *Tree) Aliases(parent signet.NodeID, caps Caps) map[signet.NodeID]string {
	p := t.find(parent)
	if p == nil || p.gone != nil || p.more == nil {
		return nil
	}
	taken := make(map[string]*node, p.more.count())
	if p == t.root {
		taken[caps.key(Hidden)] = p
	}
	// Plain names first, so that an alias gives way to them whenever they
	// were made.
	var rest []*node
	var spelt []*node // otherwise, should they have the right to their names
	for k := p.more.live; k != nil; k = k.next {
		if !caps.holds(k.name()) {
			rest = append(rest, k)
			continue
		}
		if caps.unfit(k.name()) {
			spelt = append(spelt, k)
		}
		key := caps.key(k.name())
		switch first := taken[key]; {
		case first == nil:
			taken[key] = k
		case first != p && placeOrder(k, first) < 0:
			taken[key] = k
			rest = append(rest, first)
		default:
			rest = append(rest, k)
		}
	}
	if len(rest)+len(spelt) == 0 {
		return nil
	}
	slices.SortFunc(rest, placeOrder)
	names := make(map[signet.NodeID]string, len(rest)+len(spelt))
	for _, k := range spelt {
		if taken[caps.key(k.name())] == k {
			names[k.id] = caps.Mend(k.name())
		}
	}
	for _, k := range rest {
		names[k.id] = alias(k, caps, taken)
		taken[caps.key(names[k.id])] = k
	}
	return names
}

// Plain reports whether a live node has its own name on a disk, as Names would
// say. It allocates nothing, and looks at every sibling.
func (r Ref) Plain(caps Caps) bool {
	if caps.unfit(r.n.name()) || r.n.parent == r.t.root && caps.key(r.n.name()) == caps.key(Hidden) {
		return false
	}
	return !r.Rival(caps).OK()
}

// Rival is a sibling with a better right to a live node's name on a disk, if
// there is one.
func (r Ref) Rival(caps Caps) Ref {
	n := r.n
	key := caps.key(n.name())
	for k := n.parent.more.live; k != nil; k = k.next {
		if k != n && caps.key(k.name()) == key && placeOrder(k, n) < 0 && caps.holds(k.name()) {
			return Ref{r.t, k}
		}
	}
	return Ref{}
}

func (c Caps) key(name string) string {
	if c.Key == nil {
		return name
	}
	return c.Key(name)
}

// holds reports whether the disk can hold name, if spelt in its own way.
func (c Caps) holds(name string) bool { return !c.unfit(name) || c.Equal(name, c.Mend(name)) }

func (c Caps) unfit(name string) bool { return c.Unfit != nil && c.Unfit(name) }

// Equal reports whether two names of one folder are one for the disk.
func (c Caps) Equal(a, b string) bool { return a == b || c.Key != nil && c.Key(a) == c.Key(b) }

// alias is the first free name among the mended one and conflict names with
// 4, 8, … 32 digits of the node's id, and then with a counter: for the case
// that somebody gave files the names that another's aliases would have.
func alias(k *node, caps Caps, taken map[string]*node) string {
	name := k.name()
	if caps.unfit(name) {
		name = caps.Mend(name)
		if taken[caps.key(name)] == nil {
			return name
		}
	}
	id := hex.EncodeToString(k.id[:])
	for i := 1; ; i++ {
		digits := id[:min(4*i, len(id))]
		if i > 8 {
			digits += strconv.Itoa(i)
		}
		if a := suffixed(name, k.place.time, "", digits); taken[caps.key(a)] == nil {
			return a
		}
	}
}
