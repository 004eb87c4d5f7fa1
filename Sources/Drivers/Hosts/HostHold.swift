internal import SSH

/// Who changes a host, or changed it last, as the host itself says.
package struct HostMark: Hashable, Sendable {
    /// `TOKEN open|done PID START SINCE WHO`; empty: nobody has since it was started.
    package var line: String
    /// Whether the shell through which it is held still runs.
    package var isAlive: Bool

    package init(line: String = "", isAlive: Bool = false) {
        self.line = line
        self.isAlive = isAlive
    }

    /// Somebody is changing it.
    package var isHeld: Bool { isAlive && words.count > 1 && words[1] == "open" }

    /// As its holder calls itself; empty: it did not say.
    package var who: String { words.count > 5 ? String(words[5]).quotable(limit: 200) : "" }

    /// The process that holds it, as its caller called it; empty: it did not say.
    package var process: String {
        let parts = (words.first ?? "").split(separator: "-")
        return parts.count == 2 ? String(parts[0]) : ""
    }

    /// On the host's clock, `2026-11-25T14:01:12Z`; empty: it is not known.
    package var since: String { words.count > 4 ? String(words[4]).quotable(limit: 40) : "" }

    /// What tells one state of the host from the next.
    var state: String { words.prefix(2).joined(separator: " ") }

    private var words: [Substring] { line.split(separator: " ", maxSplits: 5) }
}

/// How an attempt to be the only one who changes a host ended.
package enum HoldAnswer: Hashable, Sendable {
    case held
    /// Somebody else changes it.
    case busy(HostMark)
    /// Somebody has changed it since it was looked at. It is not held.
    case moved(HostMark)
    /// Its own `/etc/plumb/pause` is there; why.
    case paused(String)
    case refused(HoldRefusal)
}

package enum HoldRefusal: Hashable, Sendable {
    /// The host lacks this program.
    case missing(String)
    /// `sudo`, `flock` or the host's shell said no.
    case said(String)
}

extension HostPool {
    /// The section of a probe that says who changes the host.
    package var holdSection: HostSection { options.holds.section }

    /// What an answer with `holdSection` says.
    package static func mark(in answer: HostAnswer) -> HostMark {
        let lines = (answer.sections["hold"]?.output ?? "").split(separator: "\n", omittingEmptySubsequences: false)
        return HostMark(line: String(lines.first ?? ""), isAlive: lines.contains("alive"))
    }

    /// What root has to be allowed to do so that a host can be held.
    package var holdCommands: [String] { options.holds.privileged }

    /// Keeps all others from changing a host until `release`, or until the connection ends. A connection that is opened anew in between takes the lock
    /// again before anything is run over it.
    ///
    /// - Parameters:
    ///   - who: Tells others who that is.
    ///   - process: Tells others which process, in letters, digits and points.
    ///   - mark: What the host said when it was last looked at. If that is no longer so, it is not held.
    package func hold(
        _ login: HostLogin,
        as who: String,
        process: String = "",
        unlessChangedSince mark: HostMark
    ) async throws(HostFailure) -> HoldAnswer {
        try await host(login).hold(as: who, process: process, unlessChangedSince: mark)
    }

    /// Lets others change the host again, and tells them whether it was changed. Where it can't be reached its lock has ended by itself.
    package func release(_ login: HostLogin, changed: Bool) async { await host(login).release(changed: changed) }
}
