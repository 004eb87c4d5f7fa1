internal import SSH

/// The way to one host: a connection and a resident shell, opened when first needed and used by one caller at a time.
actor HostLine {
    private let login: HostLogin
    private let options: HostPoolOptions
    private let client: SSHClient
    private var connection: SSHConnection?
    private var shell: SSHSession.Command?
    private var isBusy = false
    private var waiting: [CheckedContinuation<Void, Never>] = []
    private var isClosed = false

    init(_ login: HostLogin, options: HostPoolOptions, client: SSHClient) {
        self.login = login
        self.options = options
        self.client = client
    }

    // MARK: One at a time

    private func enter() async {
        guard isBusy else {
            isBusy = true
            return
        }
        await withCheckedContinuation { waiting.append($0) }
    }

    private func leave() {
        if waiting.isEmpty { isBusy = false } else { waiting.removeFirst().resume() }
    }

    // MARK: Reading

    func probe(_ sections: [HostSection]) async throws(HostFailure) -> HostAnswer {
        await enter()
        defer { leave() }
        let wasOpen = connection != nil
        do throws(SSHFailure) {
            return try await ask(sections)
        } catch  where wasOpen && error.isLost {
            // The connection of an earlier call broke since; reading can be done again.
            drop()
            do throws(SSHFailure) { return try await ask(sections) } catch { throw HostFailure(error) }
        } catch {
            drop()
            throw HostFailure(error)
        }
    }

    private func ask(_ sections: [HostSection]) async throws(SSHFailure) -> HostAnswer {
        let connection = try await connected()
        let place = connection.session.place
        let command: SSHSession.Command
        if let shell {
            command = shell
        } else {
            command = try await connection.session.startCommand("exec /bin/sh")
            shell = command
        }
        let script = ProbeScript(sections, usesSudo: login.usesSudo, separator: separator())
        let limit = options.probeTimeout
        let result = await connection.session.exchange(
            command,
            send: Array(script.text.utf8),
            within: limit,
            state: ProbeAnswer(script)
        ) { answer, event -> Result<[String: CommandResult], SSHFailure>? in
            switch event {
            case .output(let bytes): answer.receive(output: bytes)
            case .errorOutput(let bytes): answer.receive(errorOutput: bytes)
            case .refused(let reason):
                return .failure(
                    SSHFailure(.denied, "\(place) let us in and refused to start a shell (\(reason.quotable())); is a command forced for this user?")
                )
            case .ended(let status, let signal): return .failure(Self.ended(answer, status: status, signal: signal, place: place))
            case .lost(let failure): return .failure(failure)
            case .late: return .failure(Self.late(answer, limit: limit, place: place))
            }
            if answer.isTooLarge { return .failure(Self.tooLarge(answer, place: place)) }
            return answer.sections.map { .success($0) }
        }
        let answers = try result.get()
        return HostAnswer(sections: answers, hostKeyFingerprint: connection.hostKeyFingerprint, notes: connection.notes)
    }

    private static func ended(_ answer: ProbeAnswer, status: Int32?, signal: String?, place: String) -> SSHFailure {
        let how = signal.map { "by signal \($0.quotable(limit: 20))" } ?? "with status \(status ?? -1)"
        if answer.hasBegun {
            return SSHFailure(.unknown, "the shell on \(place) ended \(how) before it had answered; the host may be out of memory or processes")
        }
        let said = answer.noise.quotable()
        return SSHFailure(
            .unknown,
            "\(place) let us in and its login shell ended \(how) without running /bin/sh\(said.isEmpty ? "" : " (it said: '\(said)')"); "
                + "does this user have a login shell that runs commands?"
        )
    }

    private static func late(_ answer: ProbeAnswer, limit: Duration, place: String) -> SSHFailure {
        if answer.hasBegun {
            return SSHFailure(
                .unreachable,
                "\(place) did not finish reading '\(answer.current ?? "")' within \(limit.inWords); a command hangs there"
            )
        }
        let said = answer.noise.quotable()
        return SSHFailure(
            .unreachable,
            "\(place) let us in and its shell said nothing we asked for within \(limit.inWords)\(said.isEmpty ? "" : " (only: '\(said)')"); "
                + "do the user's startup files (.bashrc) wait for something?"
        )
    }

    private static func tooLarge(_ answer: ProbeAnswer, place: String) -> SSHFailure {
        if answer.hasBegun {
            return SSHFailure(
                .unknown,
                "\(place) sent more than \(ProbeAnswer.limit >> 20) MiB while reading '\(answer.current ?? "")'; the connection was closed"
            )
        }
        return SSHFailure(
            .unknown,
            "\(place) sent \(answer.size) bytes before our shell ran, beginning with '\(answer.noise.quotable(limit: 60))'; "
                + "the user's startup files (.bashrc) must print nothing where no terminal is"
        )
    }

    // MARK: Changing

    func run(_ command: HostCommand) async throws(HostFailure) -> CommandResult {
        if let refusal = StepScript.refusal(of: command) { throw HostFailure(.unknown, "\(login.name): \(refusal); nothing was run") }
        await enter()
        defer { leave() }
        do throws(SSHFailure) {
            let connection = try await connected()
            let place = connection.session.place
            let separator = separator()
            let channel = try await connection.session.startCommand(StepScript.command)
            let limit = options.stepTimeout
            let result = await connection.session.exchange(
                channel,
                send: StepScript.input(command, usesSudo: login.usesSudo, separator: separator),
                closesInput: true,
                within: limit,
                state: StepAnswer(separator: separator)
            ) { answer, event -> Result<CommandResult, SSHFailure>? in
                let doubt = answer.hasStarted ? "it was started and may have done its work" : "it may or may not have been started"
                switch event {
                case .output(let bytes): answer.receive(output: bytes)
                case .errorOutput(let bytes): answer.receive(errorOutput: bytes)
                case .refused(let reason):
                    return .failure(SSHFailure(.denied, "\(place) refused to run a command (\(reason.quotable())); nothing was run"))
                case .ended(let status?, _): return .success(answer.result(status: status))
                case .ended(nil, let signal):
                    return .failure(SSHFailure(.unknown, "the command on \(place) was ended by signal \((signal ?? "unknown").quotable(limit: 20))"))
                case .lost(let failure): return .failure(.lost("\(failure.message) while a command ran; \(doubt)"))
                case .late: return .failure(SSHFailure(.unreachable, "the command on \(place) did not end within \(limit.inWords); \(doubt)"))
                }
                if answer.isTooLarge {
                    return .failure(SSHFailure(.unknown, "the command on \(place) printed more than \(StepAnswer.limit >> 20) MiB; \(doubt)"))
                }
                return nil
            }
            return try result.get()
        } catch {
            drop()
            throw HostFailure(error)
        }
    }

    // MARK: Connection

    private func connected() async throws(SSHFailure) -> SSHConnection {
        if isClosed { throw SSHFailure(.unreachable, "\(login.name): closed") }
        if let connection, await connection.session.isOpen { return connection }
        drop()
        let new = try await client.connect(
            SSHLogin(name: login.name, address: login.address, port: login.port, user: login.user, hostKeys: login.hostKeys)
        )
        connection = new
        return new
    }

    /// Gives the connection up; the next call makes another.
    private func drop() {
        shell = nil
        guard let connection else { return }
        self.connection = nil
        let session = connection.session
        Task { await session.close() }
    }

    func close() async {
        isClosed = true
        shell = nil
        await connection?.session.close()
        connection = nil
    }

    private func separator() -> String { "plumb-\(UInt64.random(in: .min ... .max))-\(UInt64.random(in: .min ... .max))" }
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
