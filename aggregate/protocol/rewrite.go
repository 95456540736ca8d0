package protocol

import "github.com/gridloom/gridloom"

// MayList reports whether the commit that makes head may list files which its owner wrote
// beside the loop, under an epoch: only in that epoch. Since then others may have
// committed, merged the same segments, and swept what no manifest named. Whether the
// inputs of a merge are all listed still says pane.Store.Replace.
func MayList(head *gridloom.Head, epoch uint64) bool { return head.Epoch == epoch }
