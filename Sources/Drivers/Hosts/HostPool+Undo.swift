internal import SSH

/// A change of a host that may cut the connection, and what takes it back.
package struct RiskyChange: Hashable, Sendable {
    package var change: [HostCommand]
    /// In the order in which it is to be run.
    package var undo: [HostCommand]
    /// For whoever finds it armed: what is changed, and by whom.
    package var about: String
    /// How long the change and its confirmation may take together.
    package var timeout: Duration

    package init(change: [HostCommand], undo: [HostCommand], about: String, timeout: Duration) {
        self.change = change
        self.undo = undo
        self.about = about
        self.timeout = timeout
    }
}

/// What a host says of undos that are armed on it.
package struct ArmedUndo: Hashable, Sendable {
    package var name: String
    /// Until the host runs it; negative: it should have been run by now. nil: it was run and did not work.
    package var seconds: Int?
}

/// What a look at the changed host gave.
package enum ChangedHost: Hashable, Sendable {
    case asDeclared
    case differs(String)
    case unreachable(String)
}

extension HostPool {
    /// The section of a probe that says whether an undo is armed.
    package static var undoSection: HostSection { UndoProgram().section }

    /// What an answer with `undoSection` says of undos that are not being carried out by this pool; the one that is closest first.
    package func foreignUndos(of login: HostLogin, in answer: HostAnswer) -> [ArmedUndo] {
        let own = ownUndo(of: login)
        return Self.undos(in: answer).filter { $0.name != own }
    }

    private static func undos(in answer: HostAnswer) -> [ArmedUndo] {
        let lines = (answer.sections["undo"]?.output ?? "").split(separator: "\n").map(String.init)
        guard let first = lines.first, first.hasPrefix("uptime "), let uptime = Int(first.dropFirst("uptime ".count)) else { return [] }
        return lines.dropFirst().filter(isName).map { name in
            ArmedUndo(name: name, seconds: name.prefix { $0 != "-" }.wholeNumber.map { $0 - uptime })
        }
        .sorted { ($0.seconds ?? .min, $0.name) < ($1.seconds ?? .min, $1.name) }
    }

    /// Names are of our making; nothing else goes into a script.
    private static func isName(_ name: String) -> Bool {
        let parts = name.split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == 2, parts[0] == "failed" || parts[0].wholeNumber != nil else { return false }
        return (1...32).contains(parts[1].utf8.count) && parts[1].utf8.allSatisfy { (48...57).contains($0) || (97...102).contains($0) }
    }

    /// Makes a change that is kept only if the host can be reached anew and `look` finds it as declared; else the host takes it back by itself.
    ///
    /// - Guarantees: nothing is changed before the undo is armed. Whatever becomes of us or of the network afterwards, the host confirms or
    ///   undoes, never both, and nothing of it is left there.
    /// - Assumptions: root through the login; one such change a host at a time.
    package func carryOut(
        _ risky: RiskyChange,
        at login: HostLogin,
        look: @Sendable () async -> ChangedHost
    ) async -> CommitConfirmed.Ending {
        if let objection = objection(to: risky) { return .refused(.reason(objection)) }
        let clock = ContinuousClock()
        let start = clock.now
        var commit = CommitConfirmed(timeout: risky.timeout)
        var undo = ""
        var order = commit.start
        var last = order
        while true {
            let report: CommitConfirmed.Report
            switch order {
            case .arm:
                (report, undo) = await arm(risky, fuse: commit.fuse, at: login)
                setOwnUndo(undo, of: login)
            case .change:
                report = await ask(login, "change \(undo)", within: max(.seconds(1), risky.timeout / 2), Self.changeReport(risky))
            case .look:
                if last == .look { try? await clock.sleep(for: .milliseconds(200)) }
                // Over the connection that was there before, nothing would be proved.
                await reconnect(login)
                await limit(login, to: max(.seconds(1), commit.deadline - (clock.now - start)))
                switch await look() {
                case .asDeclared: report = .asDeclared
                case .differs(let message): report = .differs(message)
                case .unreachable(let message): report = .lost(message)
                }
            case .confirm: report = await ask(login, "confirm \(undo)", within: max(.seconds(1), risky.timeout / 2), Self.report)
            case .revert: report = await ask(login, "revert \(undo)", within: .seconds(30), Self.report)
            case .await:
                if last == .await { try? await clock.sleep(for: .milliseconds(300)) }
                report = await state(of: undo, at: login)
            case .end(let ending):
                await limit(login, to: nil)
                setOwnUndo(nil, of: login)
                return ending
            }
            last = order
            order = commit.take(report, at: clock.now - start)
        }
    }

    /// Tries whether an undo could be armed, as far as rights go; nil: it could.
    ///
    /// - Returns: what `sudo` or the host says against it.
    package func undoObjection(_ login: HostLogin) async throws(HostFailure) -> CommandResult? {
        let input = "[ \"$(id -u)\" = 0 ] || { echo 'permission denied: it needs root' >&2; exit 1; }\n"
        let result = try await run(login, HostCommand(arguments: UndoProgram.command, input: input, heedsPause: false))
        return result.status == 0 ? nil : result
    }

    /// What somebody wrote of an undo when it was armed; nil where that can't be read.
    package func about(_ undo: ArmedUndo, at login: HostLogin) async -> String? {
        guard let result = try? await run(login, "about \(undo.name)"), result.status == 0, !result.output.isEmpty else { return nil }
        return result.output
    }

    /// Ends an undo whose time is over by more than it could need, or that did not work: whoever should have run it is no more.
    package func settle(_ undo: ArmedUndo, at login: HostLogin) async -> CommitConfirmed.Report {
        await ask(login, "settle \(undo.name)", within: .seconds(30), Self.report)
    }

    /// Seconds after its time when an undo that is still there has nobody who runs it.
    package static let abandonedAfter = 30

    // MARK: One request each

    private func objection(to risky: RiskyChange) -> String? {
        guard !risky.undo.isEmpty else { return "nothing is known that would undo it" }
        for command in risky.change + risky.undo {
            if let objection = ShellScript.objection(to: command) { return "\(objection); this is a mistake in Plumb, please report it" }
        }
        return nil
    }

    private func arm(_ risky: RiskyChange, fuse: Int, at login: HostLogin) async -> (CommitConfirmed.Report, String) {
        let name = String(UInt64.random(in: .min ... .max), radix: 16)
        let payload = UndoProgram.payload(change: risky.change, undo: risky.undo, about: risky.about)
        do throws(HostFailure) {
            let result = try await run(login, "arm \(name) \(fuse)", payload: payload)
            let (word, rest) = Self.answer(result)
            switch word {
            case "armed" where Self.isName(rest): return (.armed, rest)
            case "busy": return (.notArmed(.reason("another change that can cut the connection is being made there (\(rest.quotable()))")), "")
            case "refused": return (.notArmed(.reason(rest.quotable())), "")
            default: return (.notArmed(.unexpected(result)), "")
            }
        } catch {
            return (.notArmed(.failure(error)), "")
        }
    }

    private func state(of undo: String, at login: HostLogin) async -> CommitConfirmed.Report {
        do throws(HostFailure) {
            await limit(login, to: .seconds(4))
            let undos = Self.undos(in: try await probe(login, sections: [Self.undoSection]))
            if undos.contains(where: { $0.name == undo }) { return .stillArmed }
            let name = undo.drop { $0 != "-" }
            guard let broken = undos.first(where: { $0.name == "failed\(name)" }) else { return .undone }
            await limit(login, to: nil)
            guard case .undoBroken(let said) = await settle(broken, at: login) else { return .undoBroken("") }
            return .undoBroken(said)
        } catch {
            return .lost(error.message)
        }
    }

    private func ask(
        _ login: HostLogin,
        _ call: String,
        within limit: Duration,
        _ read: (CommandResult) -> CommitConfirmed.Report
    ) async -> CommitConfirmed.Report {
        do throws(HostFailure) {
            await self.limit(login, to: limit)
            return read(try await run(login, call))
        } catch {
            return error.cause == .paused ? .stepFailed(error.message) : .lost(error.message)
        }
    }

    private func run(_ login: HostLogin, _ call: String, payload: [String] = []) async throws(HostFailure) -> CommandResult {
        let input = UndoProgram().request(call, payload: payload, delimiter: ShellScript.separator())
        // What is armed is confirmed or undone, whatever is wanted meanwhile.
        let begins = call.hasPrefix("arm ") || call.hasPrefix("change ")
        return try await run(login, HostCommand(arguments: UndoProgram.command, input: input, heedsPause: begins))
    }

    private static func answer(_ result: CommandResult) -> (word: Substring, rest: String) {
        let line = result.output.prefix { $0 != "\n" }
        let word = line.prefix { $0 != " " }
        return (word, String(line.dropFirst(word.count + 1)))
    }

    private static func report(_ result: CommandResult) -> CommitConfirmed.Report {
        let lines = result.output.split(separator: "\n")
        switch lines.first {
        case "confirmed": return .confirmed
        case "changing": return .changing
        case "over": return .over
        case "undone": return .undone
        case "broken": return .undoBroken(lines.dropFirst().joined(separator: "; ").quotable())
        default: return .lost("the host answered '\((result.errorOutput + result.output).quotable())'")
        }
    }

    private static func changeReport(_ risky: RiskyChange) -> (CommandResult) -> CommitConfirmed.Report {
        { result in
            let (word, rest) = answer(result)
            switch word {
            case "changed": return .changed
            case "over": return .over
            case "failed":
                let numbers = rest.split(separator: " ").compactMap { Int($0) }
                guard numbers.count == 2, risky.change.indices.contains(numbers[0] - 1) else { return .lost("") }
                let said = result.errorOutput.quotable()
                let command = risky.change[numbers[0] - 1].arguments.joined(separator: " ")
                return .stepFailed("'\(command)' ended with status \(numbers[1])\(said.isEmpty ? "" : ": \(said)")")
            default: return .lost("")
            }
        }
    }
}

extension StringProtocol {
    /// A number of plain digits, short enough to be one.
    fileprivate var wholeNumber: Int? {
        guard (1...12).contains(utf8.count), utf8.allSatisfy({ (48...57).contains($0) }) else { return nil }
        return Int(self)
    }
}
