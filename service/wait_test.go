package service

import (
	"maps"
	"slices"
	"testing"

	"signet"
)

func TestTheDirectoryComesBeforeJournals(t *testing.T) {
	first := signet.Directory(signet.OrgID{0xff})
	dirty := map[signet.LogID]bool{first: true}
	for i := range 20 {
		dirty[signet.Journal(signet.RegionID{byte(i)})] = true
	}
	list := slices.SortedFunc(maps.Keys(dirty), inTurn)
	if list[0] != first || list[1] != signet.Journal(signet.RegionID{}) || list[20] != signet.Journal(signet.RegionID{19}) {
		t.Errorf("the order is %v", list)
	}
}
