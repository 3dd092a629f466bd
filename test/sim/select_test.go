package sim

import (
	"maps"

	"signet"
	"signet/core/plan"
	"signet/core/tree"
	"signet/device/engine"
)

// choose changes what of the region is selected on the device: now and then all.
func (d *device) choose(e *engine.Device) {
	d.do(d.name+".user", "chooses", nil, func() {
		err := e.Select("v", func(t *tree.Tree, m plan.Marks) (plan.Marks, error) {
			if d.taste.IntN(6) == 0 {
				return nil, nil
			}
			nodes := []signet.NodeID{signet.RootNode}
			for _, n := range t.Walk() {
				nodes = append(nodes, n.ID)
			}
			m = maps.Clone(m)
			for range 1 + d.taste.IntN(3) {
				n := nodes[d.taste.IntN(len(nodes))]
				switch mark := plan.Mark(d.taste.IntN(4)); {
				case mark == 0, n == signet.RootNode && mark != plan.Part:
					delete(m, n)
				default:
					m[n] = mark
				}
			}
			return m, nil
		})
		if err != nil {
			d.t.Errorf("%s: select: %v", d.name, err)
		}
	})
}

// showSelected fails where a device that is in step has something else than what
// is selected on it, and then has all of them select all. It reports whether any
// did not before.
func (r *run) showSelected() (chosen bool) {
	r.act(func() {
		for _, d := range r.left() {
			if d.chooses && !r.t.Failed() {
				chosen = true
				d.shows()
			}
		}
	})
	if err := r.run(400_000); err != nil {
		r.t.Error(err)
	}
	return chosen
}

func (d *device) shows() {
	e := d.programs[d].engine
	said := d.troubled(e.VolumeStatus("v").Problems) // of what stays and waits
	rules, there, folders := d.disk.rulesHere(), map[string]bool{}, map[string]bool{}
	d.disk.walk("", func(p string, _ uint64, n *node) { there[p], folders[p] = true, n.stat.Type == tree.Dir })
	err := e.WithSelection("v", func(t *tree.Tree, m plan.Marks) error {
		for p, n := range t.Walk() {
			r := t.Ref(n.ID)
			own := p
			if d.cased() {
				p, own = pathOn(t, n.ID, d.disk.caps), judgedOn(t, n.ID, d.disk.caps, there)
			}
			here := d.disk.spelt(p)
			switch is := m.Selected(r); {
			case said || !d.cased() && t.Names(n.Parent, tree.Caps{})[n.ID] != n.Name:
			case leaves(rules, p, r.Type() == tree.Dir): // each disk has its own
			case !there[p] && leaves(rules, own, r.Type() == tree.Dir): // what is not here has no other name yet
			// And what has the name here, or that of a folder above it, may be another thing.
			case (there[here] || here != p) && leaves(rules, here, folders[here]):
			case is && !there[p] && r.Type() != tree.Dir: // a folder with nothing for this disk is not made
				d.t.Errorf("%s lacks %s, which is selected", d.name, p)
			case !is && there[p] && !rules.Empty() && (r.Type() == tree.Dir || folders[p]): // for what is ignored in it
			case !is && there[p] && !twice(t, n, d.disk.caps):
				d.t.Errorf("%s has %s, which is not selected", d.name, p)
			}
		}
		return nil
	})
	if err == nil {
		err = e.Select("v", func(*tree.Tree, plan.Marks) (plan.Marks, error) { return nil, nil })
	}
	if err != nil {
		d.t.Errorf("%s: %v", d.name, err)
	}
}

// twice reports whether another node has the path of one, or one on the way
// to it has the name of another: its path on a disk is then another one.
func twice(t *tree.Tree, n tree.Node, caps tree.Caps) bool {
	for n.ID != n.Parent {
		for _, k := range t.Children(n.Parent) {
			if k.ID != n.ID && caps.Equal(k.Name, n.Name) {
				return true
			}
		}
		above, ok := t.Node(n.Parent)
		if !ok {
			break
		}
		n = above
	}
	return false
}
