internal import SSH

extension HostConnection {
    /// What is held, so that a new connection can take it again.
    struct Hold {
        var token: String
        var who: String
        /// What the host says of us.
        var line: String
        /// What it said before.
        var previous: String
        var beating: Task<Void, Never>
    }

    func hold(as who: String, process: String, unlessChangedSince mark: HostMark) async throws(HostFailure) -> HoldAnswer {
        await takeTurn()
        defer { passTurn() }
        let random = String(UInt64.random(in: .min ... .max), radix: 16)
        let token = process.isEmpty ? random : "\(process)-\(random)"
        // While somebody was at it, what was seen may have been half of it, also where that somebody has died since.
        let expected = mark.isHeld ? "-" : mark.state
        do throws(SSHFailure) {
            try await wakeShell()
            let (answer, lines) = try await askHold(token: token, expected: expected, who: who, heedsPause: true)
            if case .held = answer {
                hold = Hold(token: token, who: who, line: lines.ours, previous: lines.previous, beating: beating())
                markShell(isHolding: true)
            }
            return answer
        } catch {
            throw HostFailure(error)
        }
    }

    /// After a new connection: what is run over it must not meet a change of somebody else.
    func holdAgain() async throws(SSHFailure) {
        guard let held = hold else { return }
        // Not whether it is paused: what has begun is ended all the same, and each command asks for itself.
        let (answer, lines) = try await askHold(token: held.token, expected: "\(held.token) open", who: held.who, heedsPause: false)
        let name = login.name
        let lost = "the connection to \(name) was lost and with it the lock of this apply"
        switch answer {
        case .held:
            hold?.line = lines.ours
            markShell(isHolding: true)
        case .busy(let mark), .moved(let mark):
            throw SSHFailure(.unreachable, "\(lost); \(mark.who.isEmpty ? "somebody else" : mark.who) has taken it since. Plan again")
        case .paused(let reason): throw SSHFailure(.unreachable, "\(lost); the host is paused: \(reason)")
        case .refused(.missing(let tool)): throw SSHFailure(.unreachable, "\(lost), and '\(tool)' is not there to take it again")
        case .refused(.said(let why)): throw SSHFailure(.unreachable, "\(lost), and it can't be taken again: \(why)")
        }
    }

    func release(changed: Bool) async {
        await takeTurn()
        defer { passTurn() }
        guard let held = hold else { return }
        hold = nil
        held.beating.cancel()
        guard await isHolding else { return }
        let line = changed ? held.line.replacing("\(held.token) open ", with: "\(held.token) done ", maxReplacements: 1) : held.previous
        let limit = capped(.seconds(10))
        // Where this fails the connection is closed, and the lock ends with it.
        _ = try? await ask(within: limit) {
            options.holds.release(leaving: line, separator: $0)
        } isLate: { _, place in
            .lost("\(place) did not give its lock back within \(limit.inWords)")
        }
        markShell(isHolding: false)
    }

    private func askHold(
        token: String,
        expected: String,
        who: String,
        heedsPause: Bool
    ) async throws(SSHFailure) -> (HoldAnswer, lines: (ours: String, previous: String)) {
        let limit = capped(options.probeTimeout)
        let who = who.quotable(limit: 200)
        let (answers, connection) = try await ask(within: limit) {
            options.holds.hold(token: token, expected: expected, who: who, heedsPause: heedsPause, separator: $0)
        } isLate: { _, place in
            .lost("\(place) did not answer within \(limit.inWords) whether it can be changed")
        }
        guard let result = answers[0].map(CommandResult.init) else {
            throw SSHFailure(.unknown, "\(connection.session.place) did not say whether it can be changed")
        }
        let lines = result.output.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        let line = lines.count > 1 ? lines[1] : ""
        let said = result.errorOutput.quotable()
        switch lines.first {
        case "held" where lines.count > 2: return (.held, (line, lines[2]))
        case "busy": return (.busy(HostMark(line: line, isAlive: true)), ("", ""))
        case "moved": return (.moved(HostMark(line: line)), ("", ""))
        case "paused": return (.paused(PauseFile.reason(in: lines.dropFirst().joined(separator: "\n"), path: options.pauseFile) ?? ""), ("", ""))
        case let first? where first.hasPrefix("missing "): return (.refused(.missing(String(first.dropFirst("missing ".count)).quotable())), ("", ""))
        case let first?: return (.refused(.said(said.isEmpty ? first.quotable() : said)), ("", ""))
        case nil: return (.refused(.said(said)), ("", ""))
        }
    }

    // MARK: Signs of life

    private func beating() -> Task<Void, Never> {
        Task { [weak self] in
            while true {
                try? await Task.sleep(for: HoldProgram.beat)
                guard !Task.isCancelled, let self else { return }
                await self.giveSignOfLife()
            }
        }
    }

    private func giveSignOfLife() async {
        await takeTurn()
        defer { passTurn() }
        guard hold != nil, await isHolding else { return }
        // A connection that does not answer is closed here; the next step opens another and takes the lock anew.
        _ = try? await ask(within: .seconds(15)) {
            options.holds.beat(separator: $0)
        } isLate: { _, place in
            .lost("\(place) has stopped answering")
        }
    }
}
