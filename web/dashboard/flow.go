package dashboard

import (
	"fmt"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
)

// The diagram's measures, in its own units.
const (
	flowColumn, flowRow    = 172, 64
	flowWidth, flowHeight  = 148, 30
	flowLeft, flowTop      = 4, 30
	flowTotal, flowTallest = 6*flowColumn + flowWidth + 2*flowLeft, flowTop + 2*flowRow + flowHeight + 8
)

// flowView is the diagram of a pipeline's statuses: where it stands, and the
// way that it took.
type flowView struct {
	Width, Height int
	Nodes         []flowNode
	Edges         []flowEdge
	Label         string
}

type flowNode struct {
	X, Y, MidX, MidY int
	Name, Class      string
}

type flowEdge struct {
	Path, Class string
}

type cell struct{ column, row int }

// cells are where the statuses stand: the way to a site that is live on top,
// what fails below it, and the end last.
var cells = map[troy.Status]cell{
	troy.PreProvisioned: {0, 0}, troy.ProvisionRequest: {1, 0}, troy.Provisioning: {2, 0}, troy.ReadyForDeployment: {3, 0},
	troy.Queued: {4, 0}, troy.Deploying: {5, 0}, troy.Deployed: {6, 0}, troy.FailedToProvision: {2, 1}, troy.FailedToDeploy: {5, 1},
	troy.FailedToDelete: {3, 2}, troy.ScheduledForDeletion: {4, 2}, troy.Deleting: {5, 2}, troy.Deleted: {6, 2},
}

// usual are the steps that are drawn whether or not they were taken. Others
// are drawn once they were.
var usual = [][2]troy.Status{
	{troy.PreProvisioned, troy.ProvisionRequest}, {troy.ProvisionRequest, troy.Provisioning}, {troy.Provisioning, troy.ReadyForDeployment},
	{troy.ReadyForDeployment, troy.Queued}, {troy.Queued, troy.Deploying}, {troy.Deploying, troy.Deployed},
	{troy.Provisioning, troy.FailedToProvision}, {troy.Deploying, troy.FailedToDeploy},
	{troy.ScheduledForDeletion, troy.Deleting}, {troy.Deleting, troy.Deleted},
}

// flow draws the diagram for a status and the newest events.
func flow(now troy.Status, events []queries.Event) flowView {
	taken, been := map[[2]troy.Status]bool{}, map[troy.Status]bool{now: true}
	for _, e := range events {
		been[e.ToStatus] = true
		if e.FromStatus != nil {
			been[*e.FromStatus] = true
			taken[[2]troy.Status{*e.FromStatus, e.ToStatus}] = true
		}
	}
	v := flowView{Width: flowTotal, Height: flowTallest, Label: fmt.Sprintf("The statuses of a pipeline; this one is %s", now)}
	for _, step := range usual {
		if !taken[step] {
			v.Edges = append(v.Edges, flowEdge{Path: arrow(cells[step[0]], cells[step[1]]), Class: "plain"})
		}
	}
	for _, from := range troy.Statuses() {
		for _, to := range from.Next() {
			if taken[[2]troy.Status{from, to}] {
				v.Edges = append(v.Edges, flowEdge{Path: arrow(cells[from], cells[to]), Class: "taken"})
			}
		}
	}
	for _, s := range troy.Statuses() {
		c := cells[s]
		n := flowNode{X: c.x(), Y: c.y(), MidX: c.x() + flowWidth/2, MidY: c.y() + flowHeight/2, Name: s.String(), Class: "ahead"}
		switch {
		case s == now:
			n.Class = "now " + tone(s)
		case been[s]:
			n.Class = "been"
		}
		v.Nodes = append(v.Nodes, n)
	}
	return v
}

func (c cell) x() int { return flowLeft + c.column*flowColumn }
func (c cell) y() int { return flowTop + c.row*flowRow }

// arrow is the path from one node to another.
func arrow(from, to cell) string {
	switch {
	case from.row == to.row && to.column == from.column+1:
		return fmt.Sprintf("M%d %dH%d", from.x()+flowWidth, from.y()+flowHeight/2, to.x()-5)
	case from.row == to.row: // over or below the row
		x1, x2 := from.x()+flowWidth/2+14, to.x()+flowWidth/2-14
		if to.column < from.column {
			x1, x2 = from.x()+flowWidth/2-14, to.x()+flowWidth/2+14
		}
		lift := 10 + 7*max(from.column-to.column, to.column-from.column)
		return fmt.Sprintf("M%d %dC%d %d %d %d %d %d", x1, from.y(), x1, from.y()-lift, x2, to.y()-lift, x2, to.y()-5)
	case from.column == to.column && to.row == from.row+1:
		return fmt.Sprintf("M%d %dV%d", from.x()+flowWidth/2, from.y()+flowHeight, to.y()-5)
	case to.row > from.row:
		x1, x2 := from.x()+flowWidth/2, to.x()+flowWidth/2
		y1, y2 := from.y()+flowHeight, to.y()-5
		return fmt.Sprintf("M%d %dC%d %d %d %d %d %d", x1, y1, x1, (y1+y2)/2, x2, (y1+y2)/2, x2, y2)
	default:
		x1, x2 := from.x()+flowWidth/2-14, to.x()+flowWidth/2
		y1, y2 := from.y(), to.y()+flowHeight+5
		return fmt.Sprintf("M%d %dC%d %d %d %d %d %d", x1, y1, x1, (y1+y2)/2, x2, (y1+y2)/2, x2, y2)
	}
}
