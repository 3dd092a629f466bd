package edge

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A known case: what it is about, the tests elsewhere that cover it or part of
// it, and what is open. Those of this package are found by their names.
type known struct {
	name string
	at   string // package.Test, several apart by spaces
	open string // what is not covered, and why
}

const placeholders = "there are no placeholders yet"

var catalogue = []known{
	1:   {"both edit one file", "test/e2e.TestConcurrentEditsKeepBoth", ""},
	2:   {"both edit to the same bytes", "core/plan.TestTwoDevices", ""},
	3:   {"edits of equal size within a second", "", ""},
	4:   {"the second's clock is ahead", "test/attack.TestClocksThatDifferAreNamed", ""},
	5:   {"three edit", "core/plan.TestThreeDevicesInAllOrders", ""},
	6:   {"edited again while the edit is sent", "device/owner.TestEditWhileTheEditIsCommittedIsKept device/owner.TestAFilmThatChangesOnItsWay", ""},
	7:   {"a program saves what it had open before a remote edit", "device/owner.TestOnePassWaitsForWhatAProgramHasOpen", ""},
	8:   {"both edit a conflict copy", "", ""},
	9:   {"many conflicts of one file", "", ""},
	10:  {"both make a file of one name", "device/owner.TestNamesThatAreOneAndWereMadeAtOnceAreBothKept", ""},
	11:  {"both make the same file", "core/plan.TestTwoDevices", ""},
	12:  {"mode here, content there", "core/plan.TestTwoDevices", ""},
	13:  {"index lost, and both changed", "test/e2e.TestChangesAroundALostIndexAreKept", ""},
	14:  {"edit against deletion", "test/e2e.TestEditWinsOverDelete", ""},
	15:  {"a write at the instant of the deletion", "device/disk.TestTrashPutsBackWhatChangedAtTheInstant", ""},
	16:  {"deleted and made again, against an edit", "", ""},
	17:  {"both delete", "core/plan.TestTwoDevices", ""},
	18:  {"folder deleted, a file in it edited", "core/plan.TestTwoDevices", ""},
	19:  {"folder deleted, a file added to it", "core/plan.TestTwoDevices", ""},
	20:  {"deleted while a new version is sent", "device/owner.TestAFilmThatChangesOnItsWay", ""},
	21:  {"folder deleted where ignored files lie in it", "device/owner.TestFolderDeletedElsewhereKeepsWhatIsIgnored", ""},
	22:  {"offline for long, with files that others deleted", "", ""},
	23:  {"made and deleted within a second", "", ""},
	24:  {"tree deleted and restored from a backup", "", ""},
	25:  {"a placeholder is deleted", "", placeholders},
	26:  {"folder made and removed on two, with files of a third", "", ""},
	27:  {"move here, edit there", "core/plan.TestTwoDevices", ""},
	28:  {"folder moved here, a file in it edited there", "core/plan.TestTwoDevices", ""},
	29:  {"folder renamed while its files are sent", "", ""},
	30:  {"folder renamed elsewhere while its files arrive", "", ""},
	31:  {"renamed and edited before a look", "", ""},
	32:  {"renamed and edited, size and time as before", "", ""},
	33:  {"moved into an ignored folder", "device/owner.TestMoveToWhereItIsIgnoredDeletesNothing device/owner.TestFilesOfUnselectedNamesAndMoves", ""},
	34:  {"a placeholder is moved", "", placeholders},
	35:  {"moved from one region to another", "device/owner.TestCase035WhatIsMovedToAnotherRegionIsThereBeforeItIsDeletedHere device/owner.TestWhatIsMovedToAnotherRegionWithoutADaemon", ""},
	36:  {"moved out of the folder", "", ""},
	37:  {"moved where another made a file", "core/plan.TestTwoDevices", ""},
	38:  {"moved over another file", "test/e2e.TestOfflineMovesSendNothing", ""},
	39:  {"copied, and the original deleted", "device/owner.TestLargeFileIsUploadedOnceWhateverItsName", ""},
	40:  {"hard links, one of them replaced", "device/engine.TestSecondHardLinkIsAFileOfItsOwn", ""},
	41:  {"one file moved to two places", "test/e2e.TestConcurrentMovesConverge", ""},
	42:  {"one file moved to the same place by both", "core/plan.TestTwoDevices", ""},
	43:  {"two files moved to one place", "test/e2e.TestConcurrentMovesConverge", ""},
	44:  {"swap", "test/e2e.TestOfflineMovesSendNothing", ""},
	45:  {"rotation", "test/e2e.TestOfflineMovesSendNothing", ""},
	46:  {"log rotation", "test/e2e.TestOfflineMovesSendNothing", ""},
	47:  {"folder moved, made again, part moved back", "test/e2e.TestOfflineMovesSendNothing", ""},
	48:  {"folder and child renamed together", "test/e2e.TestOfflineMovesSendNothing", ""},
	49:  {"folder renamed here, its child there", "core/plan.TestTwoDevices", ""},
	50:  {"parent and child trade places", "test/e2e.TestOfflineMovesSendNothing", ""},
	51:  {"names used again on all levels", "test/e2e.TestOfflineMovesSendNothing", ""},
	52:  {"renamed there and back", "core/plan.TestTwoDevices", ""},
	53:  {"two rename one folder again and again", "device/engine.TestWhatTurnsUpLateIsTheSameThing", ""},
	54:  {"a folder of very many files renamed", "test/e2e.TestRenamedFolderIsOneOperationWithoutContent", ""},
	55:  {"folder moved here, deleted there", "core/plan.TestTwoDevices", ""},
	56:  {"folders moved into each other", "test/e2e.TestConcurrentMovesConverge", ""},
	57:  {"three folders moved in a circle", "", ""},
	58:  {"moved into a folder that another deletes", "core/plan.TestTwoDevices", ""},
	59:  {"an entry that moves a folder into itself", "core/tree.TestReplayHoldsItsPromises core/region.TestNonsenseOfAWriterIsSkippedAlike", ""},
	60:  {"a mount or link that leads back", "", ""},
	61:  {"file becomes folder", "core/plan.TestTwoDevices", ""},
	62:  {"folder becomes file", "core/plan.TestTwoDevices", ""},
	63:  {"folder becomes file while a file is added to it", "core/plan.TestTwoDevices", ""},
	64:  {"edited here; renamed, and a folder in its place, there", "core/plan.TestTwoDevices", ""},
	65:  {"file becomes link and back", "device/disk.TestReplaceLinkAndReplaceOfALink", ""},
	66:  {"many files replaced by a link", "", ""},
	67:  {"folder becomes a mount point", "test/e2e.TestMountInsideVolumeIsUnknown device/disk.TestAnotherMountInTheVolumeIsUnknownAndUntouched", ""},
	68:  {"pipe, socket or device under a known name", "test/e2e.TestPipesAndSocketsAreReportedNotDeleted device/disk.TestFIFOsSocketsAndDevicesAreOtherAndBlockNobody", ""},
	69:  {"case of a file's name changes", "device/owner.TestChangeOfCaseIsARenameOnADiskThatFoldsIt", ""},
	70:  {"case of a folder's name changes while a file in it is edited", "core/plan.TestChangeOfCaseIsARename", ""},
	71:  {"two names that are one on a newcomer's disk", "device/owner.TestNamesThatAreOneOnADiskAreBothThere device/owner.TestFolderIsJoinedWhereNamesAreOneForTheDisk", ""},
	72:  {"the other name is deleted where it is shown", "device/owner.TestAliasThatIsDeletedIsTheRightFile", ""},
	73:  {"a composed name edited on a disk that decomposes", "device/owner.TestNameThatADiskDecomposesStaysAsItWas", ""},
	74:  {"both forms of a name", "core/plan.TestDevicesConvergeWhateverNamesTheirDisksHold", ""},
	75:  {"no name of the user's is changed", "", ""},
	76:  {"names that a disk refuses", "device/owner.TestNameThatADiskRefusesIsAnotherOneThere", ""},
	77:  {"names that are not UTF-8", "test/e2e.TestOddNamesModesAndTimesAreExact", ""},
	78:  {"control and invisible characters", "test/e2e.TestOddNamesModesAndTimesAreExact device/cli.TestNamesCannotChangeWhatATerminalShows", ""},
	79:  {"longest names in conflict", "core/tree.TestConflictNames", ""},
	80:  {"a name or path too long elsewhere", "device/disk.TestATreeDeeperThanAnyPathMayBeIsWholeToUs", ""},
	81:  {"user's files that look like Signet's", "", ""},
	82:  {"another name that becomes a real one", "core/plan.TestAliasGivesWayToARealNameThatComesLater", ""},
	83:  {"letters that fold by language", "device/disk.TestNamesThatADiskTakesForOneHaveOneKey", ""},
	84:  {"a file that may not be read", "test/e2e.TestUnreadableIsReportedNotDeleted", ""},
	85:  {"a folder that may not be listed", "test/e2e.TestUnreadableIsReportedNotDeleted device/disk.TestAnUnreadableFolderIsUnknownNotEmpty core/plan.TestAbsenceBelowAnUnlistedFolderIsNoDeletion", ""},
	86:  {"the disk fails while a file is read", "", ""},
	87:  {"a file changes while it is read", "device/disk.TestIntactNoticesATornRead", ""},
	88:  {"a file that grows for ever", "device/owner.TestFileThatIsBeingWrittenIsNotReadAllTheTime", ""},
	89:  {"a file that another program locks", "", ""},
	90:  {"a file vanishes between look and reading", "", ""},
	91:  {"a store through a memory map", "", ""},
	92:  {"bytes that change without a trace", "", ""},
	93:  {"sparse file", "device/disk.TestAHoleThatZerosAreWrittenToStaysOne", ""},
	94:  {"files of one byte, or of equal parts", "", ""},
	95:  {"an edit that restores size and time", "device/disk.TestReplaceNoticesAnEditThatRestoredSizeAndTime", ""},
	96:  {"an older file copied over a newer", "", ""},
	97:  {"times of long ago and far ahead", "test/e2e.TestOddNamesModesAndTimesAreExact", ""},
	98:  {"a touch", "core/plan.TestATouchDoesNotKeepWhatWasReplacedAndDeleted", ""},
	99:  {"times in steps of two seconds", "device/disk.TestAFolderIsListedWholeWhereTimesComeInTicks", ""},
	100: {"a clock that jumps", "", ""},
	101: {"a clock that is years ahead signs", "test/attack.TestClocksThatDifferAreNamed", ""},
	102: {"killed, or cut, at each step of an upload", "test/e2e.TestKillsLoseNothingSettled test/e2e.TestKilledUploadGoesOnWhereItWas", ""},
	103: {"the answer to a commit is lost", "", ""},
	104: {"staged files of a crash", "device/disk.TestAStagedFileGoesOnByItsName", ""},
	105: {"a crash between rename and note", "", ""},
	106: {"a power cut", "device/disk.TestPlaceRefusesWhatAPowerCutCouldTakeAway", ""},
	107: {"a crash at each step of an apply", "test/e2e.TestKillsLoseNothingSettled", ""},
	108: {"the index is gone", "test/e2e.TestDeletedIndexIsRebuiltByContent core/plan.TestIndexLostAdoptsWhatIsEqual", ""},
	109: {"the index of an older backup", "test/e2e.TestOlderIndexIsNoReasonToDelete", ""},
	110: {"a home copied to a second machine", "device/engine.TestWhatAnotherMachineSignsWithThisDevicesKeysIsAnAlarm device/engine.TestAnOlderCopyOfAHomeIsNoTwin test/script.TestStories", ""},
	111: {"two daemons on one folder", "test/e2e.TestSecondDaemonOnAHomeIsRefused device/disk.TestASecondProgramIsRefused", ""},
	112: {"folders in each other", "device/disk.TestOverlapComparesFoldersNotNames", ""},
	113: {"an index of another version", "test/compat.TestWhatEarlierVersionsStoredIsReadAndWrittenOn", ""},
	114: {"the line comes and goes during a transfer", "test/e2e.TestServiceDownAndBack", ""},
	115: {"the receiver's disk is full", "test/e2e.TestFullDiskOfReceiver", ""},
	116: {"the disk of the home is full", "test/e2e.TestFullDiskOfHome", ""},
	117: {"the service is full", "test/e2e.TestFullServiceTakesWhatFitsAndTheRestLater", ""},
	118: {"no inodes, read-only, files too large for the disk", "device/disk.TestAFullOrReadOnlyDiskIsNamedAndChangesNothing", ""},
	119: {"room for what a download still lacks", "test/e2e.TestFullDiskOfReceiver", ""},
	120: {"a floor of free space", "test/script.TestStories", ""},
	121: {"a download is cut", "device/owner.TestAFilmOnItsWayIsLeftByAPauseAndGoesOnAfter", ""},
	122: {"an upload is cut and the program started again", "test/e2e.TestKilledUploadGoesOnWhereItWas", ""},
	123: {"a damaged object", "device/owner.TestDamagedObjectIsAnAlarmAndHoldsUpNoOtherFile test/attack.TestDeviceRefusesObjectWithOneBitFlipped", ""},
	124: {"an object that the service lost", "test/e2e.TestDaemonsMakeARestoredServiceWhole service.TestALostObjectIsTakenAgain", ""},
	125: {"one large file and many small ones", "device/owner.TestADocumentDoesNotWaitForAFilm", ""},
	126: {"small files without end beside a large one", "device/owner.TestADocumentDoesNotWaitForAFilm test/e2e.TestADocumentIsNotHeldUpByASeeding", ""},
	127: {"a cap on the line", "test/e2e.TestALimitHoldsInBothDirections", ""},
	128: {"a small change of a large file", "test/e2e.TestSmallChangeOfLargeFileSendsLittle", ""},
	129: {"something inserted at the beginning", "test/e2e.TestSmallChangeOfLargeFileSendsLittle", ""},
	130: {"the service went back", "test/attack.TestDeviceRefusesServiceThatWentBack test/attack.TestRunningDaemonRefusesServiceThatWentBack test/e2e.TestDaemonsMakeARestoredServiceWhole test/e2e.TestServiceThatWentBackWithoutAWordStaysAnAlarm", ""},
	131: {"another service at the same address", "test/attack.TestDeviceRefusesCheckpointByOtherLogKeys", ""},
	132: {"the service fails, or answers in part", "test/e2e.TestServiceDownAndBack test/attack.TestDeviceRefusesJournalThatIsNotTheSignedOne", ""},
	133: {"two histories", "test/attack.TestTwoHistoriesOfAJournalAreEvidence test/attack.TestEntryOfTheOtherHistoryIsEvidence", ""},
	134: {"entries replayed, reordered, dropped", "test/attack.TestDeviceRefusesJournalThatIsNotTheSignedOne", ""},
	135: {"entries of revoked and unknown devices", "test/attack.TestHiddenRevocation test/attack.TestLyingClient", ""},
	136: {"a rekey while a device has edits to send", "core/region.TestNothingIsWrittenUnderAStaleKey", ""},
	137: {"a device is revoked with edits to send", "", ""},
	138: {"what cannot be opened", "test/attack.TestOperationsThatCannotBeOpenedAreSkipped", ""},
	139: {"the folder is missing", "test/e2e.TestMissingFolderDeletesNothing", ""},
	140: {"the folder is not mounted", "test/e2e.TestUnmountedFolderDeletesNothing device/disk.TestAnUnmountedVolumeIsNotAnEmptyOne", ""},
	141: {"a marker made by hand", "test/e2e.TestReplacedFolderDeletesNothing", ""},
	142: {"the folder made anew, or a copy", "test/e2e.TestReplacedFolderDeletesNothing test/e2e.TestClonedFolderIsRefused", ""},
	143: {"a mount inside the folder goes", "test/e2e.TestMountInsideVolumeIsUnknown", ""},
	144: {"a disk that answers with errors", "", ""},
	145: {"inode numbers that change", "", ""},
	146: {"the folder is moved while a daemon runs", "test/e2e.TestDaemonNoticesThatItsFolderMoved", ""},
	147: {"more deletions than an accident may make", "test/e2e.TestManyDeletionsAreHeldUntilApproved device/owner.TestFilesThatGoBitByBitAreHeldTogether", ""},
	148: {"many deletions that are meant", "test/e2e.TestManyDeletionsAreHeldUntilApproved test/e2e.TestRestoreUndoesHeldDeletions", ""},
	149: {"a populated folder joins a populated region", "device/owner.TestFolderIsJoinedByContent", ""},
	150: {"the watch overflows", "device/disk.TestTheKernelsOverflowArrives device/disk.TestLostEventsMakeEveryFolderWatchedAndAScanAskedFor", ""},
	151: {"too few watches", "test/e2e.TestTooFewWatchesAreSaidAndMakeTheRestSlower device/disk.TestFewWatchesGoToTheHottestFoldersAndTheRestIsPolled device/disk.TestNothingIsMissedWhateverIsWatched device/disk.TestARaisedLimitIsUsed device/disk.TestWithoutAnInstanceEverythingIsPolled", ""},
	152: {"files in a folder that is not watched yet", "device/disk.TestNothingInANewFolderIsMissedBeforeItIsWatched", ""},
	153: {"one's own writes come back as events", "test/e2e.TestIdleDaemonUsesNoProcessor", ""},
	154: {"changes while nothing ran", "test/e2e.TestOfflineMovesSendNothing", ""},
	155: {"a watch that says nothing", "device/owner.TestBrokenWatchIsNoReasonToSpin", ""},
	156: {"vim and Emacs", "", ""},
	157: {"office programs", "", ""},
	158: {"saving by exchange, and bundles", "", ""},
	159: {"downloads of a browser", "", ""},
	160: {"databases, repositories, builds", "test/e2e.TestToolchainTreeIsEqualOnThreeDevices", ""},
	161: {"links of all kinds", "test/e2e.TestOddNamesModesAndTimesAreExact", ""},
	162: {"a folder that is a link for others", "test/attack.TestHostileNames", ""},
	163: {"a folder swapped for a link at the instant of a write", "device/disk.TestAFolderSwappedForALinkLeadsNowhere", ""},
	164: {"names that lead out", "test/attack.TestHostileNames core/tree.TestEscapedNamesAreFit", ""},
	165: {"bits that must not travel", "device/disk.TestPlaceGivesContentModeAndTimeUnderAFreeName", ""},
	166: {"bombs", "test/attack.TestLyingClient device/owner.TestObjectIsNotTakenForWhatItsWriterSaysItIs", ""},
	167: {"rules and selections that change", "device/owner.TestRuleForFilesOfTheRegionDeletesNothing device/owner.TestEqualFilesMeetWithoutConflictWhenARuleGoes device/owner.TestWhatIsUnsentIsSentBeforeItGoes device/owner.TestPartsOfFoldersAndWhatIsNewInThem device/owner.TestCrashWhileFilesGo core/plan.TestSelectionDeletesNothing", ""},
	168: {"a restore while another edits", "device/owner.TestRestoreAtATimeBringsBackPlacesAndModes test/sim.TestWhatIsBroughtBackIsSpared", ""},
}

const cases = 168

var write = flag.Bool("write", false, "write doc/edge-cases.md")

// TestPageOfEdgeCases compares doc/edge-cases.md with what is here: go test
// ./test/edge -run Page -write writes it.
func TestPageOfEdgeCases(t *testing.T) {
	const page = "../../doc/edge-cases.md"
	want := document(t)
	if *write {
		must(t, os.WriteFile(page, []byte(want), 0o644))
	}
	if got, err := os.ReadFile(page); err != nil || string(got) != want {
		t.Errorf("%s is not that of these tests (%v): run go test ./test/edge -run Page -write", page, err)
	}
}

func document(t *testing.T) string {
	t.Helper()
	if len(catalogue) != cases+1 {
		t.Fatalf("%d cases, want %d", len(catalogue)-1, cases)
	}
	here, elsewhere := ours(t), map[string]map[string]bool{}
	var b strings.Builder
	b.WriteString(`# Edge cases

What goes wrong with folders that are kept in step, and the tests that say it
does not: each case of the catalogue has its number in a test of
[test/edge](../test/edge), or in one elsewhere, or says here why not. After each
case of test/edge the same is checked: nothing settled is lost, all devices show
one tree, another pass does nothing, all of it ended, nothing outside the folders
changed. This page is made of those tests (` + "`go test ./test/edge -run Page -write`" + `).

Disks: *temp* is the ordinary one of the machine; *ext4* and *xfs* are in files,
*tmpfs* in memory; *fuse-…* are odd on purpose: *fold* takes upper and lower case
for one, *nfd* decomposes names too, *reserved* refuses those that Windows
refuses, *coarse* counts time in two seconds, *cheap* does that, gives inode
numbers again at once and knows no modern renames; *fuse* alone also fails, or
loses what was not synced, when told.

| | case | covered by | on |
|---|---|---|---|
`)
	covered := 0
	for n := 1; n <= cases; n++ {
		c := catalogue[n]
		var by []string
		for _, f := range here[n] {
			by = append(by, "`"+f.name+"`")
		}
		for _, at := range strings.Fields(c.at) {
			room, test, _ := strings.Cut(at, ".")
			if elsewhere[room] == nil {
				elsewhere[room] = testsOf(t, "../../"+room)
			}
			if !elsewhere[room][test] {
				t.Errorf("case %d: there is no %s", n, at)
			}
			by = append(by, fmt.Sprintf("%s `%s`", room, test))
		}
		if len(by) == 0 && c.open == "" {
			t.Errorf("case %d, %s: covered by nothing, and no reason", n, c.name)
		}
		if len(by) > 0 {
			covered++
		}
		if c.open != "" {
			by = append(by, "**open**: "+c.open)
		}
		fmt.Fprintf(&b, "| %d | %s | %s | %s |\n", n, c.name, strings.Join(by, "<br>"), strings.Join(disksOf(here[n]), ", "))
	}
	fmt.Fprintf(&b, "\n%d of %d are covered, %d of them here.\n", covered, cases, len(here))
	return b.String()
}

func disksOf(fs []ourTest) (l []string) {
	for _, f := range fs {
		for _, d := range f.disks {
			if !slices.Contains(l, d) {
				l = append(l, d)
			}
		}
	}
	return l
}

func testsOf(t *testing.T, dir string) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	for _, f := range parse(t, dir) {
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && strings.HasPrefix(fn.Name.Name, "Test") {
				names[fn.Name.Name] = true
			}
		}
	}
	return names
}

func parse(t *testing.T, dir string) (files []*ast.File) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	must(t, err)
	slices.Sort(paths)
	for _, p := range paths {
		f, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.SkipObjectResolution)
		must(t, err)
		files = append(files, f)
	}
	return files
}

// An ourTest is a case of this package, and the disks that it says it runs on.
type ourTest struct {
	name  string
	disks []string
}

var numbered = regexp.MustCompile(`^TestCase(\d{3})[A-Z]`)

// ours are the cases of this package, by number.
func ours(t *testing.T) map[int][]ourTest {
	t.Helper()
	found := map[int][]ourTest{}
	sets := map[string][]disk{"real": real, "all": all, "exact": exact}
	single := map[string]disk{"plain": plain, "ext4": ext4, "xfs": xfs, "tmpfs": tmpfs, "folds": folds, "nfd": nfd, "coarse": coarse, "refuses": refuses, "cheap": cheap}
	for _, f := range parse(t, ".") {
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || numbered.FindString(fn.Name.Name) == "" {
				continue
			}
			var n int
			fmt.Sscanf(fn.Name.Name, "TestCase%03d", &n)
			on := map[string]bool{}
			ast.Inspect(fn.Body, func(x ast.Node) bool {
				call, ok := x.(*ast.CallExpr)
				if !ok {
					return true
				}
				id, ok := call.Fun.(*ast.Ident)
				if !ok {
					return true
				}
				switch id.Name {
				case "on", "beside", "running":
					ast.Inspect(call.Args[1], func(y ast.Node) bool {
						if id, ok := y.(*ast.Ident); ok {
							for _, d := range sets[id.Name] {
								on[d.name] = true
							}
							if d, ok := single[id.Name]; ok {
								on[d.name] = true
							}
						}
						return true
					})
				case "alone", "oddity":
					on["fuse"] = true
				}
				return true
			})
			found[n] = append(found[n], ourTest{fn.Name.Name, slices.Sorted(maps.Keys(on))})
		}
	}
	return found
}
