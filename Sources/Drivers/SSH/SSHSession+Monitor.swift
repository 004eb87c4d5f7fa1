internal import CLibSSH2
internal import NIOCore

/// What becomes of a command that is followed, after each thing it said.
package struct MonitorOrder: Sendable {
    /// Goes to its standard input.
    package var send: [UInt8] = []
    /// When to ask again if it says nothing before; nil: not at all.
    package var wakeIn: Duration?
    /// Read nothing until asked again: what the host has to say waits there.
    package var isPaused = false
    /// Close its channel; the connection stays.
    package var isOver = false

    package init() {}
}

extension SSHSession {
    /// Bytes that the host may send ahead of what is read.
    private static var monitorWindow: UInt32 { 128 << 10 }

    /// Starts a command that is followed for as long as the connection is there, on a channel of its own.
    ///
    /// It gets a terminal where the server gives one: when the channel goes, however it goes, the host's kernel hangs up on all that was started
    /// there, also on what runs as root and could not be killed by the user who started it.
    package func startMonitor(_ command: String, within limit: Duration) async throws(SSHFailure) -> (command: Command, hasTerminal: Bool) {
        startDeadline(limit)
        defer { stopDeadline() }
        let channel = try await openChannel { session in
            libssh2_channel_open_ex(session, "session", 7, Self.monitorWindow, 32 << 10, nil, 0)
        }
        let id = register(channel)
        // No echo (53), no line feed turned into two characters (70), no characters that are signals (50); 0 ends the list.
        let modes: [CChar] = [53, 0, 0, 0, 0, 70, 0, 0, 0, 0, 50, 0, 0, 0, 0, 0]
        let terminal = try await perform { _ in
            libssh2_channel_request_pty_ex(channel.pointer, "dumb", 4, modes, UInt32(modes.count), 80, 24, 0, 0)
        }
        let length = UInt32(command.utf8.count)
        start { _ in
            libssh2_channel_process_startup(channel.pointer, "exec", 4, command, length)
        } finish: { result in
            guard case .success(let status) = result, status != 0 else { return }
            channel.deliver(.refused(self.lastError()))
        }
        return (Command(session: self, id: id), terminal == 0)
    }

    /// Hands to `react` all that a command says, and nil when the time is up that `react` gave, until that says it is over, the command or the
    /// connection ends, or the task is cancelled. Then the channel is closed.
    ///
    /// `react` is called on the event loop of the connection, which others share: it has to be quick.
    package func monitor<State: Sendable>(
        _ command: Command,
        state: State,
        react: @escaping @Sendable (inout State, ChannelEvent?) -> MonitorOrder
    ) async -> State {
        await withTaskCancellationHandler {
            await withCheckedContinuation { (continuation: CheckedContinuation<State, Never>) in
                follow(command, state: state, react: react) { continuation.resume(returning: $0) }
            }
        } onCancel: {
            Task { await self.give(up: command) }
        }
    }

    private func give(up command: Command) {
        // `late` is the one end that is not the other side's.
        channels[command.id]?.deliver(.late)
    }

    private func follow<State: Sendable>(
        _ command: Command,
        state: State,
        react: @escaping @Sendable (inout State, ChannelEvent?) -> MonitorOrder,
        finish: @escaping (State) -> Void
    ) {
        var state = state
        guard let channel = channels[command.id] else {
            _ = react(&state, .lost(failure ?? .lost("the channel to \(place) has ended")))
            return finish(state)
        }
        var timer: Scheduled<Void>?
        var isOver = false
        func take(_ event: ChannelEvent?) {
            if isOver { return }
            var order = MonitorOrder()
            let isWake = if case nil = event { true } else { false }
            let isLast =
                switch event {
                case nil, .output, .errorOutput: false
                case .refused, .ended, .lost, .late: true
                }
            if case .late = event {} else { order = react(&state, event) }
            timer?.cancel()
            timer = nil
            if isLast || order.isOver {
                isOver = true
                channel.sink = nil
                channel.wake = nil
                if channel.end == nil { channel.isClosing = true }
                finish(state)
            } else {
                channel.isPaused = order.isPaused
                if !order.send.isEmpty { channel.pending.writeBytes(order.send) }
                if let wakeIn = order.wakeIn {
                    timer = eventLoop.scheduleTask(in: TimeAmount(wakeIn)) { [weak self] in
                        self?.assumeIsolated { session in session.channels[command.id]?.wake?() }
                    }
                }
            }
            // What was left unread, or is to be sent or closed, is seen to at once.
            if isWake || isOver || !order.send.isEmpty { pump() }
        }
        if Task.isCancelled { return take(.late) }
        if let end = channel.end { return take(end) }
        channel.sink = { take($0) }
        channel.wake = { take(nil) }
        take(nil)
    }
}
