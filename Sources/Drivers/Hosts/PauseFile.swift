internal import SSH

/// The brake on the host itself: while there is a file `/etc/plumb/pause`, nothing is changed there. Its first line says why.
///
/// - Guarantees: it is looked for in the round trip that takes the lock of a host, and again by the shell on the host before each command that changes
///   something. What is armed is confirmed or undone all the same. No root is needed for it.
/// - Assumptions: who may make that file is who may stop us. What can't be seen, for the folder is closed to us, counts as paused.
enum PauseFile {
    static let path = "/etc/plumb/pause"

    /// Functions of the resident shell. `plumb_paused` is true while the host is paused; then `plumb_reason` is what `reason` reads.
    static func functions(path: String) -> String {
        #"""
        plumb_pause=PATH
        plumb_paused() {
            if [ -e "$plumb_pause" ] || [ -L "$plumb_pause" ]; then
                plumb_reason=$(plumb_read_pause 9>&-)
            elif [ -d "${plumb_pause%/*}" ] && [ ! -x "${plumb_pause%/*}" ]; then
                plumb_reason=hidden
            else
                return 1
            fi
        }
        plumb_read_pause() {
            set -- $(ls -ldn "$plumb_pause" 2>/dev/null)
            case $1 in
            -*) ;;
            l*) echo link; return ;;
            *) echo odd; return ;;
            esac
            case $1 in ?????w* | ????????w*) echo writable ;; esac
            [ "$3" = 0 ] || echo "owner $3"
            if [ ! -r "$plumb_pause" ]; then
                echo unreadable
                return
            fi
            echo text
            head -c 200 "$plumb_pause" | head -n 1
        }

        """#
        .replacing("PATH", with: path)
    }

    /// Says, without root, whether the host is paused; nothing where it is not.
    static let section = HostSection(name: "pause", script: "plumb_paused || exit 0\nprintf '%s\\n' \"$plumb_reason\"")

    /// Why the host is paused, for people; nil: it is not.
    static func reason(in output: String, path: String) -> String? {
        var lines = output.split(separator: "\n", omittingEmptySubsequences: false)
        if lines.last == "" { lines.removeLast() }
        guard !lines.isEmpty else { return nil }
        var text = ""
        var notes: [String] = []
        for (number, line) in lines.enumerated() {
            switch line.prefix(while: { $0 != " " }) {
            case "text":
                text = (number + 1 < lines.count ? String(lines[number + 1]) : "").quotable(limit: 200)
                return sentence(text, notes)
            case "writable": notes.append("others than root may write to \(path): chmod 644 it")
            case "owner": notes.append("\(path) is not root's but that of the user with the number \(line.dropFirst(6).quotable(limit: 12))")
            case "unreadable": notes.append("\(path) can't be read: chmod 644 it")
            case "link": notes.append("\(path) is a symbolic link, which is not followed")
            case "hidden":
                notes.append("whether there is a \(path) can't be seen, so it counts as if it were there: chmod 755 its folder")
            default: notes.append("\(path) is no plain file")
            }
        }
        return sentence(text, notes)
    }

    private static func sentence(_ text: String, _ notes: [String]) -> String {
        let reason = text.isEmpty ? "it does not say why" : text
        return notes.isEmpty ? reason : "\(reason) (\(notes.joined(separator: "; ")))"
    }
}

extension HostPool {
    /// The section of a probe that says whether a host is paused by its own `/etc/plumb/pause`.
    package static var pauseSection: HostSection { PauseFile.section }

    /// Why, as an answer with `pauseSection` says; nil: it is not paused.
    package func pauseReason(in answer: HostAnswer) -> String? {
        guard let section = answer.sections[PauseFile.section.name] else { return nil }
        return PauseFile.reason(in: section.output, path: options.pauseFile)
    }
}
