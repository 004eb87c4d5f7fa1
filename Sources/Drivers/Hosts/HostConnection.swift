internal import SSH

/// One host: its connection and its resident shell. Calls wait for one another, for the shell does one thing at a time.
actor HostConnection {
    let login: HostLogin
    private let client: SSHClient
    let options: HostPoolOptions
    private var shell: Shell?
    private(set) var isClosed = false
    private var isBusy = false
    private var waiting: [CheckedContinuation<Void, Never>] = []
    /// Until when calls may take, where that is sooner than usual.
    private var deadline: ContinuousClock.Instant?
    /// The lock that whatever is run on this host needs; nil: none.
    var hold: Hold?

    private struct Shell {
        var connection: SSHConnection
        var command: SSHSession.Command
        /// What goes before the first request.
        var prelude: String?
        var lastUse: ContinuousClock.Instant
        /// Whether it has the lock of its host.
        var isHolding = false
    }

    /// A shell that was idle for longer is asked whether it is still there before it gets a step: what a step did that got no answer is not known.
    private static let idleLimit = Duration.seconds(5)

    init(_ login: HostLogin, client: SSHClient, options: HostPoolOptions) {
        self.login = login
        self.client = client
        self.options = options
    }

    func probe(_ sections: [HostSection]) async throws(HostFailure) -> HostAnswer {
        await takeTurn()
        defer { passTurn() }
        let isReused = shell != nil
        do throws(SSHFailure) {
            return try await probeOnce(sections)
        } catch {
            // It died since the last call. Reading twice does no harm.
            guard isReused, error.isLost, !isClosed else { throw HostFailure(error) }
            do throws(SSHFailure) { return try await probeOnce(sections) } catch { throw HostFailure(error) }
        }
    }

    private func probeOnce(_ sections: [HostSection]) async throws(SSHFailure) -> HostAnswer {
        let names = sections.map(\.name)
        let limit = capped(options.probeTimeout)
        let user = login.user
        let (answers, connection) = try await ask(within: limit) { separator in
            ShellScript.probe(sections.map(\.script), separator: separator)
        } isLate: { frames, place in
            guard let number = frames.open, names.indices.contains(number) else {
                return Self.noShell(place, user, frames, "within \(limit.inWords)", isLate: true)
            }
            return .lost(
                "\(place): section '\(names[number])' of the probe gave no end within \(limit.inWords); the command hangs, or the host is overloaded"
            )
        }
        var result: [String: CommandResult] = [:]
        for (number, name) in names.enumerated() {
            guard let answer = answers[number] else {
                throw SSHFailure(.unknown, "\(connection.session.place) left out section '\(name)' of the probe")
            }
            result[name] = CommandResult(answer)
        }
        return HostAnswer(sections: result, hostKeyFingerprint: connection.hostKeyFingerprint, notes: connection.notes)
    }

    func run(_ command: HostCommand) async throws(HostFailure) -> CommandResult {
        if let objection = ShellScript.objection(to: command) {
            throw HostFailure(
                .unknown,
                "'\(command.arguments.joined(separator: " ").quotable())' is not run: \(objection); this is a mistake in Plumb, please report it"
            )
        }
        await takeTurn()
        defer { passTurn() }
        do throws(SSHFailure) {
            try await wakeShell()
            if hold != nil, await !isHolding { try await holdAgain() }
        } catch {
            throw HostFailure(error)
        }
        let name = command.arguments.first ?? ""
        let limit = capped(options.stepTimeout)
        let answers: Answers
        let place: String
        do throws(SSHFailure) {
            let (all, connection) = try await ask(within: limit) { separator in
                ShellScript.run(command, separator: separator)
            } isLate: { _, place in
                .lost("\(place): '\(name)' did not end within \(limit.inWords); it may still be running there")
            }
            (answers, place) = (all, connection.session.place)
        } catch {
            var failure = HostFailure(error)
            if error.isLost {
                failure.message += ". '\(name)' was under way: it may or may not have happened, so look at the host before it is done again"
            }
            throw failure
        }
        if let answer = answers[ShellScript.pausedNumber] {
            let reason = PauseFile.reason(in: CommandResult(answer).output, path: options.pauseFile) ?? ""
            throw HostFailure(
                .paused,
                "\(login.name) is paused by \(options.pauseFile) there: \(reason). '\(name)' was not run; remove that file to go on"
            )
        }
        guard let answer = answers[0] else {
            throw HostFailure(.unknown, "the shell on \(place) could not take in the command '\(name)'; is its disk full?")
        }
        return CommandResult(answer)
    }

    /// Makes sure of a shell that answers, so that a step does not run into one that is long gone.
    func wakeShell() async throws(SSHFailure) {
        if let shell, await shell.connection.session.isOpen {
            if ContinuousClock.now - shell.lastUse < Self.idleLimit { return }
            do throws(SSHFailure) {
                _ = try await ask(within: .seconds(5)) {
                    ShellScript.heartbeat(separator: $0)
                } isLate: { _, place in
                    .lost("\(place) has stopped answering")
                }
                return
            } catch {
                if !error.isLost || isClosed { throw error }
            }
        }
        await dropShell()
        _ = try await openShell()
        // The first answer of a new shell tells whether it is one, before a step depends on it.
        let user = login.user
        let limit = capped(options.probeTimeout)
        _ = try await ask(within: limit) {
            ShellScript.heartbeat(separator: $0)
        } isLate: { frames, place in
            Self.noShell(place, user, frames, "within \(limit.inWords)", isLate: true)
        }
    }

    typealias Answers = [Int: ShellFrames.Answer]

    /// Sends one request and reads its frames. Where that fails, the connection is closed: what comes later on it belongs to nobody.
    func ask(
        within limit: Duration,
        _ script: (_ separator: String) -> String,
        isLate: @escaping @Sendable (ShellFrames, _ place: String) -> SSHFailure
    ) async throws(SSHFailure) -> (Answers, SSHConnection) {
        let shell = try await openShell()
        let separator = ShellScript.separator()
        let bytes = Array(((shell.prelude ?? "") + script(separator)).utf8)
        let place = shell.connection.session.place
        let user = shell.connection.user
        let isNew = shell.prelude != nil
        self.shell?.prelude = nil
        let result: Result<Answers, SSHFailure> = await shell.connection.session.exchange(
            shell.command,
            send: bytes,
            within: limit,
            state: ShellFrames(separator: separator)
        ) { frames, event in
            switch event {
            case .output(let bytes), .errorOutput(let bytes):
                do throws(ShellFrames.Violation) {
                    if case .output = event { try frames.take(bytes, from: .output) } else { try frames.take(bytes, from: .errorOutput) }
                } catch {
                    return .failure(Self.failure(error, place: place, user: user, frames))
                }
                return frames.isComplete ? .success(frames.answers) : nil
            case .refused(let reason):
                return .failure(SSHFailure(.denied, "\(place) let '\(user)' in and refused to start a shell (\(reason.quotable()))"))
            case .ended(let status, let signal):
                let how = signal.map { "was killed by signal \($0)" } ?? "ended\(status.map { " with status \($0)" } ?? "")"
                if frames.hasBegun { return .failure(.lost("the shell on \(place) \(how) in the middle")) }
                // One that has answered before was a shell; that it is gone is noticed only now.
                if !isNew { return .failure(.lost("the shell on \(place) \(how)")) }
                return .failure(Self.noShell(place, user, frames, "but \(how)"))
            case .lost(let failure): return .failure(failure)
            case .late: return .failure(isLate(frames, place))
            }
        }
        switch result {
        case .success(let answers):
            self.shell?.lastUse = .now
            return (answers, shell.connection)
        case .failure(let failure):
            await dropShell()
            throw failure
        }
    }

    private static func noShell(_ place: String, _ user: String?, _ frames: ShellFrames, _ how: String, isLate: Bool = false) -> SSHFailure {
        let said = String(decoding: frames.noise, as: UTF8.self).quotable()
        return SSHFailure(
            isLate ? .unreachable : .denied,
            "\(place) let \(user.map { "'\($0)'" } ?? "us") in, but its login shell did not become /bin/sh, \(how)"
                + (said.isEmpty ? "" : "; it said: '\(said)'")
                + ". Is the shell nologin, a ForceCommand set, or does a start-up file start another program or wait for input?"
        )
    }

    private static func failure(_ violation: ShellFrames.Violation, place: String, user: String, _ frames: ShellFrames) -> SSHFailure {
        switch violation {
        case .answerTooLong: SSHFailure(.unknown, "\(place) sent more than 4 MiB in answer to one command; the connection was closed")
        case .tooMuch: SSHFailure(.unknown, "\(place) sent more than 8 MiB in answer to one request; the connection was closed")
        case .tooMuchNoise:
            SSHFailure(
                .unknown,
                "\(place) sent more than 256 KiB that nobody asked for ('\(String(decoding: frames.noise, as: UTF8.self).quotable(limit: 60))'): "
                    + "a start-up file or ForceCommand of '\(user)' prints without end"
            )
        case .disorder(let what): SSHFailure(.unknown, "\(place) sent \(what); something on the host rewrites what our shell says")
        }
    }

    // MARK: Connection

    private func openShell() async throws(SSHFailure) -> Shell {
        if isClosed { throw SSHFailure(.unreachable, "the connections were closed") }
        if let shell {
            if await shell.connection.session.isOpen { return shell }
            self.shell = nil
        }
        let connection = try await client.connect(SSHLogin(login))
        do throws(SSHFailure) {
            let command = try await connection.session.startCommand(ShellScript.command, within: options.connectTimeout)
            let prelude = ShellScript.prelude(usesSudo: login.usesSudo, pauseFile: options.pauseFile)
            let shell = Shell(connection: connection, command: command, prelude: prelude, lastUse: .now)
            if isClosed { throw SSHFailure(.unreachable, "the connections were closed") }
            self.shell = shell
            return shell
        } catch {
            await connection.session.close()
            throw error
        }
    }

    /// The connection that is there.
    var openConnection: SSHConnection? {
        get async {
            guard let shell, await shell.connection.session.isOpen else { return nil }
            return shell.connection
        }
    }

    /// The connection that is there, or a new one. For who has the turn.
    func connected() async throws(SSHFailure) -> SSHConnection { try await openShell().connection }

    /// Whether something has to be done here in little time.
    var isPressed: Bool { deadline != nil }

    private func dropShell() async {
        guard let shell else { return }
        self.shell = nil
        await shell.connection.session.close()
    }

    /// The next call opens a new connection.
    func reconnect() async {
        await takeTurn()
        defer { passTurn() }
        await dropShell()
    }

    /// Bounds what calls may take once connected; nil: as usual again.
    func limit(to duration: Duration?) { deadline = duration.map { .now + $0 } }

    func capped(_ limit: Duration) -> Duration {
        deadline.map { min(limit, max(.milliseconds(500), $0 - .now)) } ?? limit
    }

    func close() async {
        isClosed = true
        hold?.beating.cancel()
        hold = nil
        await dropShell()
    }

    /// Whether the connection that is there has the lock of its host.
    var isHolding: Bool {
        get async {
            guard let shell, shell.isHolding else { return false }
            return await shell.connection.session.isOpen
        }
    }

    func markShell(isHolding: Bool) { shell?.isHolding = isHolding }

    // MARK: Turns

    func takeTurn() async {
        if !isBusy {
            isBusy = true
            return
        }
        await withCheckedContinuation { waiting.append($0) }
    }

    func passTurn() {
        if waiting.isEmpty { isBusy = false } else { waiting.removeFirst().resume() }
    }
}

extension HostFailure {
    init(_ failure: SSHFailure) {
        let cause: Cause =
            switch failure.cause {
            case .unreachable: .unreachable
            case .denied: .denied
            case .unknown: .unknown
            }
        self.init(cause, failure.message)
    }
}

extension SSHLogin {
    init(_ login: HostLogin) {
        self.init(name: login.name, address: login.address, port: login.port, user: login.user, hostKeys: login.hostKeys)
    }
}

extension CommandResult {
    init(_ answer: ShellFrames.Answer) {
        self.init(
            status: answer.status,
            output: String(decoding: answer.output, as: UTF8.self),
            errorOutput: String(decoding: answer.errorOutput, as: UTF8.self)
        )
    }
}
