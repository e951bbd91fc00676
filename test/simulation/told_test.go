package simulation

import (
	"fmt"
	"strings"

	"github.com/edgerelay/edgerelay/shared/link"
)

// told describes the frames of a batch, except pings and pongs. The result is empty if the
// batch has only pings and pongs.
func told(batch []byte) string {
	var frames []string
	for len(batch) > 0 {
		t, body, remainder, err := link.Next(batch)
		if err != nil {
			frames = append(frames, err.Error())
			break
		}
		batch = remainder
		if t != link.TypePing && t != link.TypePong {
			frames = append(frames, toldFrame(t, body))
		}
	}
	return strings.Join(frames, " | ")
}

func toldFrame(t link.Type, body []byte) string {
	switch t {
	case link.TypeSession:
		f, _ := link.ParseSession(body)
		return fmt.Sprintf("session %d %s", f.ID, f.User)
	case link.TypeHeld:
		f, _ := link.ParseHeld(body)
		return fmt.Sprintf("held %s at %v by %v", f.Topic, f.Position, f.Sessions)
	case link.TypeSynced:
		f, _ := link.ParseSynced(body)
		return fmt.Sprintf("synced, replays %d to %d", f.First, f.Last)
	case link.TypeMessage:
		f, _ := link.ParseMessage(body)
		return fmt.Sprintf("message %d of %d %.60s", f.Number, f.Session, f.Payload)
	case link.TypeEnd:
		f, _ := link.ParseEnd(body)
		return fmt.Sprintf("end %d of %d", f.Number, f.Session)
	case link.TypeTopic:
		f, _ := link.ParseTopicNumber(body)
		return fmt.Sprintf("topic %d is %s at %v", f.ID, f.Topic, f.Position)
	case link.TypeUntopic:
		f, _ := link.ParseUntopic(body)
		return fmt.Sprintf("untopic %d", f.ID)
	case link.TypeOpened:
		f, _ := link.ParseOpened(body)
		return fmt.Sprintf("opened %d in %v, confirmed %v", f.Session, f.Topics, f.Confirmed)
	case link.TypeJoined:
		f, _ := link.ParseJoined(body)
		return fmt.Sprintf("joined: %d, session %d to %d", f.Number, f.Session, f.Topic)
	case link.TypeLeft:
		f, _ := link.ParseLeft(body)
		return fmt.Sprintf("left: %d, session %d from %d", f.Number, f.Session, f.Topic)
	case link.TypeAnswer:
		f, _ := link.ParseAnswer(body)
		return fmt.Sprintf("answer to %d of %d: %s", f.Number, f.Session, f.Text)
	case link.TypePublication:
		f, _ := link.ParsePublication(body)
		return fmt.Sprintf("publication on %d at %v except %q: %.60s", f.Topic, f.Position, f.Except, f.Payload)
	case link.TypeAhead:
		f, _ := link.ParseAhead(body)
		return fmt.Sprintf("ahead on %d, id %x, except %q: %.60s", f.Topic, f.ID, f.Except, f.Payload)
	case link.TypeGranted:
		f, _ := link.ParseGranted(body)
		return fmt.Sprintf("granted %d to %d", f.First, f.Last)
	case link.TypeAgain:
		f, _ := link.ParseMessage(body)
		return fmt.Sprintf("again %d of %d %.60s", f.Number, f.Session, f.Payload)
	case link.TypeGap:
		f, _ := link.ParseGap(body)
		return fmt.Sprintf("gap on %d to %v: %d", f.Topic, f.Position, f.Lost)
	case link.TypeAck:
		f, _ := link.ParseAck(body)
		return fmt.Sprintf("ack %d %v", f.Through, f.Finished)
	case link.TypeBye:
		f, _ := link.ParseBye(body)
		return fmt.Sprintf("bye: %v, %s", f.Code, f.Text)
	}
	return toldSDK(t, body)
}

// toldSDK describes a frame of link.FeatureSDK. For any other frame it returns the type's name.
func toldSDK(t link.Type, body []byte) string {
	switch t {
	case link.TypeClient:
		f, _ := link.ParseClient(body)
		return fmt.Sprintf("client %d %s, confirmed %v, until %d, keep %q", f.ID, f.User, f.Confirmed, f.Until, f.Keep)
	case link.TypeKeep:
		f, _ := link.ParseKeep(body)
		return fmt.Sprintf("keep of %d in %s: %q", f.Session, f.Topic, f.Keep)
	case link.TypeConfirmed:
		f, _ := link.ParseConfirmed(body)
		return fmt.Sprintf("confirmed: %d, session %d is %s until %d, keep %q, in %v: %s", f.Number, f.Session, f.User, f.Until, f.Keep, f.Channels, f.Text)
	case link.TypeRefreshed:
		f, _ := link.ParseRefreshed(body)
		return fmt.Sprintf("refreshed: %d, session %d until %d, keep %q: %s", f.Number, f.Session, f.Until, f.Keep, f.Text)
	case link.TypeBound:
		f, _ := link.ParseBound(body)
		return fmt.Sprintf("bound: %d, session %d to %d at %v, keep %q: %s", f.Number, f.Session, f.Topic, f.Position, f.Keep, f.Text)
	case link.TypeUnbound:
		f, _ := link.ParseUnbound(body)
		return fmt.Sprintf("unbound: session %d from %d: %s", f.Session, f.Topic, f.Text)
	case link.TypeAnswered:
		f, _ := link.ParseAnswered(body)
		return fmt.Sprintf("answered %d of %d, granted: %s", f.Number, f.Session, f.Text)
	case link.TypeClose:
		f, _ := link.ParseClose(body)
		return fmt.Sprintf("close %d: %d %s", f.Session, f.Code, f.Reason)
	case link.TypeForms:
		f, _ := link.ParseForms(body)
		return fmt.Sprintf("forms on %d at %v except %q: %q", f.Topic, f.Position, f.Except, f.Texts)
	case link.TypeAheadForms:
		f, _ := link.ParseAheadForms(body)
		return fmt.Sprintf("ahead on %d, id %x, except %q: %q", f.Topic, f.ID, f.Except, f.Texts)
	}
	return t.String()
}
