internal import CLibSSH2
internal import NIOCore

extension SSHSession {
    /// A command whose bytes go both ways for as long as it runs.
    package struct Stream: Sendable {
        private let session: SSHSession
        private let id: Int

        fileprivate init(session: SSHSession, id: Int) {
            self.session = session
            self.id = id
        }

        /// Sends bytes, in the order of the calls; does not wait.
        package func send(_ bytes: [UInt8]) {
            onLoop { session, channel in
                channel.pending.writeBytes(bytes)
                session.pump()
            }
        }

        /// Stops reading, so that the other side has to wait; what was read already still comes.
        package func pause() { onLoop { _, channel in channel.isPaused = true } }

        package func resume() {
            onLoop { session, channel in
                channel.isPaused = false
                session.pump()
            }
        }

        /// Gives the command up; nothing more is handed over.
        package func close() {
            onLoop { session, channel in
                channel.sink = nil
                channel.isClosing = true
                session.pump()
            }
        }

        private func onLoop(_ body: @escaping @Sendable (isolated SSHSession, Channel) -> Void) {
            let id = id
            session.eventLoop.execute { [session] in
                session.assumeIsolated { session in
                    if let channel = session.channels[id] { body(session, channel) }
                }
            }
        }
    }

    /// Starts a command and hands over all that comes from it, the first byte included, until `refused`, `ended` or `lost`.
    ///
    /// - Parameters:
    ///   - limit: How long the server may take to open the channel.
    ///   - handle: Called on the event loop; it must not wait.
    package func openStream(
        _ command: String,
        within limit: Duration,
        handle: @escaping @Sendable (ChannelEvent) -> Void
    ) async throws(SSHFailure) -> Stream {
        startDeadline(limit)
        defer { stopDeadline() }
        let channel = try await openChannel { libssh2_channel_open_ex($0, "session", 7, 2 << 20, 32 << 10, nil, 0) }
        // Before the command is asked for: it may speak at once.
        channel.sink = handle
        let id = register(channel)
        let length = UInt32(command.utf8.count)
        start { _ in
            libssh2_channel_process_startup(channel.pointer, "exec", 4, command, length)
        } finish: { result in
            guard case .success(let status) = result, status != 0 else { return }
            channel.deliver(.refused(self.lastError()))
        }
        return Stream(session: self, id: id)
    }
}
