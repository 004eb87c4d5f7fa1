import Applying
import Foundation
import HostKinds
import Hosts
import Planning
import ResourceModel

/// How a change that may cut the connection is made, and what becomes of an undo that an earlier run left armed.
extension Composition {
    /// - Parameter timeout: `--confirm-timeout`.
    func executeRisky(
        _ action: Action,
        at target: Target,
        timeout: Duration,
        look: @escaping @Sendable () async -> ChangedState
    ) async -> RiskyEnding {
        guard case .host(let host) = target else {
            return .refused(refusal(of: action, .invalid, "only a host can be given an undo; this is a mistake in Plumb, please report it"))
        }
        let change = action.steps.compactMap { command($0.operation) }
        let undo = action.steps.reversed().flatMap(\.inverse).compactMap(command)
        guard change.count == action.steps.count, action.steps.allSatisfy({ !$0.inverse.isEmpty }) else {
            return .refused(refusal(of: action, .blocked, "it may cut the connection, and nothing is known that would undo it; nothing was changed"))
        }
        let risky = RiskyChange(
            change: change,
            undo: undo,
            about: "\(action.address), changed by \(NSUserName()) from \(ProcessInfo.processInfo.hostName)",
            timeout: timeout
        )
        let begin = Date()
        let ending = await hosts.carryOut(risky, at: HostLogin(host)) {
            switch await look() {
            case .asDeclared: .asDeclared
            case .differs(let message): .differs(message)
            case .unobservable(let message): .unreachable(message)
            }
        }
        switch ending {
        case .confirmed: return .confirmed
        case .undone(let why): return .undone(why)
        case .undoBroken(let why, let said):
            let message = "\(why); and the undo did not go through\(said.isEmpty ? "" : " (\(said))"), so look at the host before anything else"
            return .unknown(refusal(of: action, .unknown, message))
        case .unknown(let why, let undoneBy):
            let time = begin.addingTimeInterval(Double(undoneBy.components.seconds + 1)).formatted(.iso8601)
            let message = "\(why). The host reverts by itself at \(time), and nobody has seen yet whether it did"
            return .unknown(refusal(of: action, .unreachable, message))
        case .refused(let refusal): return .refused(problem(refusal, of: action, at: host))
        }
    }

    private func command(_ operation: Step.Operation) -> HostCommand? {
        guard case .run(let arguments, let input) = operation else { return nil }
        return HostCommand(arguments: arguments, input: input)
    }

    private func refusal(of action: Action, _ status: ProblemStatus, _ message: String) -> Problem {
        Problem(target: action.address.target, address: action.address, status: status, message: message)
    }

    private func problem(_ refusal: CommitConfirmed.Refusal, of action: Action, at host: ResourceModel.Host) -> Problem {
        let nothing = "so it is not made, and nothing was changed"
        switch refusal {
        case .failure(let failure):
            var problem = failure.problem(at: host.name)
            problem.address = action.address
            problem.message = "no undo could be armed, \(nothing): \(failure.message)"
            return problem
        case .reason(let why):
            return self.refusal(of: action, .blocked, "it may cut the connection, and no undo could be armed, \(nothing): \(why)")
        case .unexpected(let result) where HostKinds.isDenial(result.errorOutput):
            let user = host.user ?? NSUserName()
            return self.refusal(
                of: action,
                .denied,
                "it may cut the connection, and '\(user)' may not arm an undo, \(nothing): \(HostKinds.firstLine(of: result.errorOutput))\n"
                    + Self.missingLine(user)
            )
        case .unexpected(let result):
            let said = HostKinds.firstLine(of: result.errorOutput + result.output)
            return self.refusal(
                of: action,
                .unknown,
                "it may cut the connection, and no undo could be armed, \(nothing): status \(result.status)\(said.isEmpty ? "" : ", \(said)")"
            )
        }
    }

    /// Why no undo could be armed at a target, with the line that is missing; nil: it could, or nobody answers, which the change itself will show.
    func undoObstacle(at target: Target) async -> String? {
        guard case .host(let host) = target else { return nil }
        guard let result = try? await hosts.undoObjection(HostLogin(host)) else { return nil }
        let user = host.user ?? NSUserName()
        let said = HostKinds.firstLine(of: result.errorOutput)
        guard HostKinds.isDenial(result.errorOutput) else { return said.isEmpty ? "the host does not say why" : said }
        if host.become == .none { return "'\(user)' is not root there. Give the host 'become: sudo', or another user" }
        return "'\(user)' may not: \(said)\n\(Self.missingLine(user))"
    }

    /// What to paste, and what it means.
    private static func missingLine(_ user: String) -> String {
        "sudoers lacks the line\n\(sudoersLine(user))\nwhich is as much as all of root's rights, since what undoes a change may be any command."
    }

    private static func sudoersLine(_ user: String) -> String { "\(user) ALL=(root) NOPASSWD: /bin/sh -s plumb-undo" }

    // MARK: Left by others

    /// Waits until no undo is armed on a host but by this run; one that nobody will run any more is run now.
    ///
    /// - Returns: whether there was any, and what a person should know of it.
    func settleUndos(_ answer: HostAnswer, of host: ResourceModel.Host) async throws(HostFailure) -> [String] {
        let login = HostLogin(host)
        var answer = answer
        var notes: [String] = []
        var told: Set<String> = []
        while let undo = hosts.foreignUndos(of: login, in: answer).first {
            if told.insert(undo.name).inserted {
                let about = await hosts.about(undo, at: login).map { " of \(HostKinds.firstLine(of: $0))" } ?? ""
                if let seconds = undo.seconds {
                    tell("\(host.name): the undo\(about) is armed; waiting until it is confirmed or has run, at most \(max(0, seconds) + 1) s")
                    notes.append("\(host.name): an earlier change\(about) that was not confirmed was waited for; what is shown is what came of it")
                } else {
                    notes.append("\(host.name): the undo\(about) had not gone through: see what it printed in the next note")
                }
            }
            if let seconds = undo.seconds, seconds > -HostPool.abandonedAfter {
                try? await Task.sleep(for: .milliseconds(500))
            } else {
                switch await hosts.settle(undo, at: login) {
                case .undone: notes.append("\(host.name): nobody was left who would have run that undo, so it was run now")
                case .over: break
                case .undoBroken(let said): notes.append("\(host.name): the undo did not go through: '\(said)'; look at the host")
                default:
                    let user = host.user ?? NSUserName()
                    throw HostFailure(
                        .denied,
                        "an undo that was left armed on \(host.name) can't be ended; sudoers needs the line\n\(Self.sudoersLine(user))"
                    )
                }
            }
            answer = try await hosts.probe(login, sections: [HostPool.undoSection])
        }
        return notes
    }

    /// What a plan, which changes nothing, says of undos that are armed.
    func notes(onUndosIn answer: HostAnswer, of host: ResourceModel.Host) -> [String] {
        hosts.foreignUndos(of: HostLogin(host), in: answer).map { undo in
            guard let seconds = undo.seconds else {
                return "\(host.name): the undo of a change that cut the connection did not go through; 'plumb apply' shows what it printed"
            }
            return "\(host.name): a change is not yet confirmed; the host undoes it in \(max(0, seconds) + 1) s, and what is shown may differ then"
        }
    }
}
