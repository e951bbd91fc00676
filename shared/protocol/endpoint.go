package protocol

// Endpoint says at which of the chat paths a session connected. Its values are on the link: never renumber.
type Endpoint uint8

const (
	EndpointChannel Endpoint = 1 // /chat/channel/{id}: commands in; direct messages, groups joined and broadcasts out
	EndpointUser    Endpoint = 2 // /chat/user/{id}: direct messages in and out
	EndpointGroup   Endpoint = 3 // /chat/group/{group}/{id}: a group's messages in and out
	EndpointAll     Endpoint = 4 // /chat/all/{id}: broadcasts in and out
)

// Topics returns the topics that a session at e follows from its connect on.
func (e Endpoint) Topics(user, group string) []Topic {
	switch e {
	case EndpointChannel:
		return []Topic{UserTopic(user), All}
	case EndpointUser:
		return []Topic{UserTopic(user)}
	case EndpointGroup:
		return []Topic{GroupTopic(group)}
	case EndpointAll:
		return []Topic{All}
	}
	return nil
}
