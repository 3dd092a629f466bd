package engine

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"unsafe"

	"signet"
	"signet/core/plan"
)

// TestAgreedKeepsEveryFieldOfABase sets the fields of a base one after the other
// and all at once, and expects each back as it was.
func TestAgreedKeepsEveryFieldOfABase(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	b, one := bases{}, signet.NodeID{1}
	keeps := func(name string, was plan.Base) {
		t.Helper()
		b.set(one, was)
		if is, ok := b.Get(one); !ok || is != was {
			t.Errorf("%s: %+v was agreed on, and is %+v", name, was, is)
		}
	}
	var all plan.Base
	keeps("none", all)
	for i := range reflect.TypeFor[plan.Base]().NumField() {
		var one plan.Base
		for _, of := range []*plan.Base{&one, &all} {
			f := reflect.ValueOf(of).Elem().Field(i)
			switch {
			case f.Kind() == reflect.Array:
				for k := range f.Len() {
					f.Index(k).SetUint(1 + random.Uint64N(255))
				}
			case f.Kind() == reflect.String:
				f.SetString(fmt.Sprint("text", i))
			case f.CanInt():
				f.SetInt(1 + random.Int64())
			case f.CanUint():
				f.SetUint(1 + random.Uint64N(200))
			default:
				t.Fatalf("a field of kind %s, which this test does not know", f.Kind())
			}
		}
		keeps(reflect.TypeFor[plan.Base]().Field(i).Name, one)
	}
	keeps("all", all)
}

// TestWhatANodeCostsInMemory holds what a volume of a million files has a million
// of: more is to be thought about.
func TestWhatANodeCostsInMemory(t *testing.T) {
	if unsafe.Sizeof(uintptr(0)) != 8 {
		return // of smaller machines nobody asked
	}
	if is := unsafe.Sizeof(item{}); is > 192 {
		t.Errorf("an item has %d bytes, of at most 192", is)
	}
	if is := unsafe.Sizeof(agreed{}); is > 128 {
		t.Errorf("what was agreed on a node has %d bytes, of at most 128", is)
	}
}
