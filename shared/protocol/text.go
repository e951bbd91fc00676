package protocol

// NotDelivered is the answer to a client's frame that found no room on its way.
const NotDelivered = "error: the server has no room, not delivered"

// AppendText appends the text that the receivers of the topic t get when a user publishes msg
// there. The parameter from is the id of that user. Relays and the original servers render a
// publication alike.
func AppendText(b []byte, t Topic, from, msg string) []byte {
	switch {
	case t.IsUser():
		b = append(b, "user "...)
		b = append(b, from...)
		b = append(b, " send:"...)
	case t.IsGroup():
		b = append(b, "group 【"...)
		b = append(b, t.Name()...)
		b = append(b, "】 user 【"...)
		b = append(b, from...)
		b = append(b, "】 send:"...)
	default:
		b = append(b, "user 【"...)
		b = append(b, from...)
		b = append(b, "】 send all:"...)
	}
	return append(b, msg...)
}

// JoinText returns the answer to a user who joined a group. The same text is the message of the
// notice to the group's members.
func JoinText(user, group string) string {
	return "user 【" + user + "】 add to group 【" + group + "】"
}

// LeaveText returns the answer to a user who left a group. The same text is the message of the
// notice to the group's members.
func LeaveText(user, group string) string {
	return "user 【" + user + "】 leave group 【" + group + "】"
}

// NotExistsText returns the answer to a message for a group that has no member anywhere. There is
// no space before the bracket.
func NotExistsText(group string) string { return "group【" + group + "】 not exists" }

// NotInText returns the answer to a user who is no member of a group. It answers a leave of the
// group, and a message for the group if others are its members.
func NotInText(user, group string) string {
	return "user 【" + user + "】 not in 【" + group + "】"
}

// LostText returns the text for a receiver that has lost messages of the topic t.
func LostText(t Topic) string {
	switch {
	case t.IsUser():
		return "error: messages lost"
	case t.IsGroup():
		return "error: messages lost in group 【" + t.Name() + "】"
	}
	return "error: messages lost to all"
}
