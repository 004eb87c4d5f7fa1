internal import SSH

extension HostConnection {
    /// Follows the host until its connection ends.
    ///
    /// - Returns: why it ended; nil: the task was cancelled, or the connections were closed.
    func follow(_ sources: Set<HostEventSource>, onEvent: @escaping @Sendable (HostEvent) -> Void) async -> HostFailure? {
        do throws(SSHFailure) {
            guard let connection = try await connectionToFollow() else { return nil }
            let session = connection.session
            let place = session.place
            let user = connection.user
            let (command, hasTerminal) = try await session.startMonitor(MonitorProgram.command, within: options.connectTimeout)
            let tag = MonitorProgram.tag()
            let text = options.monitor.text(tag: tag, sources: sources, usesSudo: login.usesSudo, hasTerminal: hasTerminal)
            let reader = MonitorReader(tag: tag, place: place, wanted: sources, at: .now, limits: options.monitorLimits)
            let end = await session.monitor(command, state: (reader, text as String?)) { state, event in
                let now = ContinuousClock.now
                var events: [HostEvent] = []
                switch event {
                case nil: events = state.0.tick(at: now)
                case .output(let bytes), .errorOutput(let bytes): events = state.0.take(bytes, at: now)
                case .refused(let reason):
                    state.0.fail(SSHFailure(.denied, "\(place) let '\(user)' in and refused to start a command (\(reason.quotable()))"))
                case .ended(let status, let signal):
                    let how = signal.map { "was killed by signal \($0)" } ?? "ended\(status.map { " with status \($0)" } ?? "")"
                    state.0.fail("what told us what happens on \(place) \(how)\(state.0.words)")
                case .lost(let failure): state.0.fail(failure)
                case .late: break
                }
                for event in events { onEvent(event) }
                var order = state.0.order(at: now)
                if let text = state.1 {
                    order.send = Array(text.utf8)
                    state.1 = nil
                }
                return order
            }
            if isClosed { return nil }
            return end.0.failure.map(HostFailure.init)
        } catch {
            return isClosed ? nil : HostFailure(error)
        }
    }

    /// The connection of the shell, or a new one; nil: cancelled or closed.
    private func connectionToFollow() async throws(SSHFailure) -> SSHConnection? {
        // A change that has to be confirmed in time comes first: we would only be in the way of its connection.
        while isPressed {
            try? await Task.sleep(for: .milliseconds(200))
            if Task.isCancelled { return nil }
        }
        if let connection = await openConnection { return connection }
        await takeTurn()
        defer { passTurn() }
        return isClosed || Task.isCancelled ? nil : try await connected()
    }
}
