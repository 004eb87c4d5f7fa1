internal import CLibSSH2

/// What a person is told when a connection does not come about or ends.
extension SSHSession {
    func lateFailure(after limit: Duration) -> SSHFailure {
        let time = limit.inWords
        switch phase {
        case .connecting:
            return SSHFailure(
                .unreachable,
                "\(place) did not answer within \(time): is the address right, the host on, and no firewall in between that drops packets?"
            )
        case .greeting where buffers.bytesReceived == 0:
            return SSHFailure(
                .unreachable,
                "\(place) accepted the connection and then said nothing for \(time): is sshd on that port, and is it not stuck?"
            )
        case .greeting:
            return SSHFailure(
                .unreachable,
                "\(place) sent \(buffers.bytesReceived) bytes that are no SSH greeting ('\(buffers.openingWords)') within \(time); is sshd on that port?"
            )
        case .keyExchange:
            return SSHFailure(
                .unreachable,
                "\(place) greeted as '\(buffers.greeting ?? "")' and did not finish the key exchange within \(time): the host is overloaded, or the path loses large packets (MTU)"
            )
        case .authentication(let user):
            return SSHFailure(
                .unreachable,
                "\(place) did not say within \(time) whether '\(user)' may log in; the host may be overloaded, or wait for a directory or DNS"
            )
        case .agent(let path):
            return SSHFailure(.denied, "\(place): the ssh-agent at \(path) did not sign within \(time); does it wait for a confirmation or a touch?")
        case .open:
            return SSHFailure(.unreachable, "\(place) let us in and did not start a shell within \(time)")
        }
    }

    func lostFailure(_ reason: String?) -> SSHFailure {
        let why = reason.map { " (\($0))" } ?? ""
        switch phase {
        case .connecting, .greeting:
            var failure = SSHFailure(
                .unreachable,
                buffers.bytesReceived == 0
                    ? "\(place) accepted the connection and closed it before it said anything\(why): sshd turns away who knocks too often (MaxStartups, PerSourcePenalties), or a firewall does"
                    : "\(place) sent '\(buffers.openingWords)' and closed the connection\(why); is sshd on that port?"
            )
            failure.isTurnedAway = buffers.bytesReceived == 0 || buffers.openingWords.contains("Exceeded MaxStartups")
            return failure
        case .keyExchange:
            return SSHFailure(.unreachable, "\(place) closed the connection during the key exchange\(why)\(mismatch.map { ": \($0)" } ?? "")")
        case .authentication(let user):
            return SSHFailure(
                .denied,
                "\(place) closed the connection while '\(user)' was logging in\(why): too many keys tried (MaxAuthTries), a user who is not allowed, or sshd or the host has ended; see the host's sshd log"
            )
        case .agent:
            return SSHFailure(.unreachable, "\(place) closed the connection while we waited for the ssh-agent\(why)")
        case .open:
            return .lost("the connection to \(place) broke\(why)")
        }
    }

    func handshakeFailure(_ status: Int32) -> SSHFailure {
        if let mismatch { return SSHFailure(.denied, "\(place) and we have nothing in common: \(mismatch)") }
        switch status {
        case LIBSSH2_ERROR_SOCKET_DISCONNECT, LIBSSH2_ERROR_SOCKET_RECV, LIBSSH2_ERROR_SOCKET_SEND, LIBSSH2_ERROR_BANNER_RECV:
            if buffers.isClosed || buffers.greeting != nil { return lostFailure(nil) }
            return SSHFailure(.unknown, "\(place) sent something that is no SSH greeting ('\(buffers.openingWords)'); is sshd on that port?")
        case LIBSSH2_ERROR_HOSTKEY_INIT, LIBSSH2_ERROR_HOSTKEY_SIGN:
            return SSHFailure(.denied, "\(place) could not prove that it has the host key it showed (\(lastError())). Nothing was sent to it")
        default:
            return SSHFailure(.unknown, "\(place): the key exchange failed (\(lastError()), libssh2 error \(status))")
        }
    }

    /// What the server offers and we don't take.
    private var mismatch: String? {
        guard let offers = Opening(buffers.opening).offers else { return nil }
        func common(_ ours: [String], _ theirs: [String]) -> Bool { ours.contains(where: theirs.contains) }
        func list(_ names: [String]) -> String { names.prefix(12).joined(separator: ", ").quotable(limit: 400) }
        if !common(Algorithms.keyExchange, offers.keyExchange) {
            return "it offers only the key exchanges \(list(offers.keyExchange)); we take none with SHA-1"
        }
        if !common(hostKeyAlgorithms, offers.hostKeys) {
            let isOnlyRSA = offers.hostKeys.allSatisfy { $0.contains("rsa") }
            let reason =
                isOnlyRSA && !SSHLibrary.canRSA
                ? "libssh2 \(SSHLibrary.version) can't check RSA keys safely (1.11 can). Make an ed25519 key on the host: ssh-keygen -A"
                : "we can check \(list(hostKeyAlgorithms)) there"
            return "it offers only host keys of the types \(list(offers.hostKeys)), and \(reason)"
        }
        if !common(Algorithms.ciphers, offers.ciphers) {
            return "it offers only the ciphers \(list(offers.ciphers)); we take AES in CTR or GCM mode, never CBC"
        }
        // With GCM the cipher authenticates by itself, but libssh2 agrees on both.
        if !common(Algorithms.authentication, offers.authentication) {
            return "it offers only the MACs \(list(offers.authentication)); we take hmac-sha2-256 and hmac-sha2-512"
        }
        return nil
    }

    func channelFailure(_ status: Int32) -> SSHFailure {
        if status == LIBSSH2_ERROR_CHANNEL_FAILURE {
            return SSHFailure(.denied, "\(place) let us in and refused to open a channel (\(lastError())); see MaxSessions in its sshd_config")
        }
        return .lost("\(place) let us in, but a channel can't be opened (\(lastError()), libssh2 error \(status))")
    }
}
