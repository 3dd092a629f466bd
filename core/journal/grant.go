package journal

import (
	"fmt"

	"signet"
)

// grant: that the ring exists is judged at the directory head that the entry
// names, so that its writer can know it. The key is no part of it: the ring
// becomes a recipient, and whoever holds the key serves it (Lacking), also
// where the granting device stopped right after this.
func (s *State) grant(i *item, e *Entry) (effect func(), reason, err error) {
	g, bad := parseRight(i.body)
	if bad != nil {
		return nil, malformed(bad), nil
	}
	if s.dir.Opaque(g.Ring) {
		return nil, nil, s.hidden(i)
	}
	if _, there := s.dir.GenerationAt(g.Ring, e.Dir.Size); !there {
		e.Void = i.no(signet.ErrNotFound, "no such ring")
	} else if s.roles[g.Ring] == g.Role {
		e.Void = i.no(signet.ErrConflict, "the ring has this role")
	} else if g.Role < Manager && s.soleManager(g.Ring) {
		e.Void = i.no(signet.ErrNotAllowed, "nobody would be left who may grant")
	}
	return func() {
		if e.Void == nil {
			s.roles[g.Ring] = g.Role
		}
		s.follow(i, e.Dir)
	}, nil, nil
}

// soleManager reports whether a ring is a manager and no other is.
func (s *State) soleManager(r signet.RingID) bool {
	for other, role := range s.roles {
		if role >= Manager && other != r {
			return false
		}
	}
	return s.roles[r] >= Manager
}

// withheld is the error where a ring's statements are not there that the
// verdict on an entry depends on: its writer's, and those of every ring with a
// role, for they say who is a recipient and what is stale. To count them as
// stale, as others may, would be a verdict that other replicas do not share.
func (s *State) withheld(i *item) error {
	if s.dir.Opaque(i.Ring) {
		return s.hidden(i)
	}
	for r := range s.roles {
		if s.dir.Opaque(r) {
			return s.hidden(i)
		}
	}
	return nil
}

func (s *State) hidden(i *item) error {
	return fmt.Errorf("%s: %s entry %d: the statements of a ring with a role are withheld: %w", s.region, i.Type, s.Size(), signet.ErrNotVerified)
}
