package router

import "github.com/edgerelay/edgerelay/shared/link"

// closed carries out a Close whose turn has come. If the Close has code 0, its text is an answer,
// and the client is sent that answer first.
func (r *Router) closed(fr *frame) {
	code, text := fr.command.Terms.Code, fr.command.Text
	if code == 0 && text != "" {
		r.answer(fr, []byte(text))
		text = ""
	}
	r.close(fr.session, code, text)
	r.finish(fr)
}

// close makes the edge close a session. Later messages of the session are finished without being
// read, unless they were granted. The session stays until its End comes.
func (r *Router) close(s *session, code uint16, reason string) {
	s.client().closing = true
	r.m.close(code)
	r.send(s.edge, link.Close{Session: s.id, Code: code, Reason: reason}.Append)
}
