package protocol

// NotDelivered is the answer to a frame that found no room on its way.
const NotDelivered = "error: the server has no room, not delivered"

// AppendText appends the text that a member of t is sent when from publishes msg on it. Relays and
// the original servers render it alike.
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

// JoinText is the answer to a user who joined a group. It is also the message of the notice to its
// members.
func JoinText(user, group string) string {
	return "user 【" + user + "】 add to group 【" + group + "】"
}

// LeaveText is the answer to a user who left a group. It is also the message of the notice to its
// members.
func LeaveText(user, group string) string {
	return "user 【" + user + "】 leave group 【" + group + "】"
}

// NotExistsText is the answer to a message for a group that has no member anywhere. There is no
// space before the bracket.
func NotExistsText(group string) string { return "group【" + group + "】 not exists" }

// NotInText is the answer to a message for a group that user is no member of, or to a leave of such
// a group.
func NotInText(user, group string) string {
	return "user 【" + user + "】 not in 【" + group + "】"
}

// LostText tells the receivers of t that messages on it are lost for them.
func LostText(t Topic) string {
	switch {
	case t.IsUser():
		return "error: messages lost"
	case t.IsGroup():
		return "error: messages lost in group 【" + t.Name() + "】"
	}
	return "error: messages lost to all"
}
