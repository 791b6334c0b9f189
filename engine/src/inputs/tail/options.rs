//! The option table of tail, and what it compiles into.
//!
//! Owns: every option of in_tail 5.1.1. Never: touches a file.

use crate::inputs::sqlite::{Journal, Sync};
use codecs::conf::values::{Bool, Int, List, Seconds, Size, Text};

codecs::options! {
    /// Reads lines that are appended to files, through rotations, and remembers in a `DB` what was delivered.
    pub struct Options {
        /// Files to read: paths and shell patterns, with commas between them.
        path "Path": Opt<List>,
        /// Shell patterns, with commas between them, of paths to leave alone.
        exclude_path "Exclude_Path": Opt<List>,
        /// Name of the field that holds a line that no parser takes.
        key "Key": One<Text> = "log",
        /// Reads the files that are there at the start (and not in the `DB`) from their head instead of their end.
        read_from_head "Read_from_Head": One<Bool> = "false",
        /// Reads files that appear later from their head instead of their end.
        read_newly_discovered_files_from_head "Read_Newly_Discovered_Files_from_Head": One<Bool> = "true",
        /// How often the paths are searched for new files, besides what the kernel tells at once.
        refresh_interval "Refresh_Interval": One<Seconds> = "60",
        /// How often a symbolic link is looked at.
        watcher_interval "Watcher_Interval": One<Seconds> = "2s" => NoEffect("the folders of links and of their targets are watched, a change shows at once"),
        /// How often all files are looked at for changes that the kernel did not tell of, where it tells of none.
        progress_check_interval "Progress_Check_Interval": One<Seconds> = "2s",
        /// Nanoseconds on top of `Progress_Check_Interval`.
        progress_check_interval_nsec "Progress_Check_Interval_NSec": One<Int> = "0",
        /// How long a file is watched after it was renamed or removed, for what its writer still has.
        rotate_wait "Rotate_Wait": One<Seconds> = "5",
        /// Joins the parts of a long line that docker's json-file driver split.
        docker_mode "Docker_Mode": One<Bool> = "false",
        /// How long docker mode waits for the next part, in seconds.
        docker_mode_flush "Docker_Mode_Flush": One<Int> = "4",
        /// Parser that recognises the first line of a docker multi-line record.
        docker_mode_parser "Docker_Mode_Parser": Opt<Text>,
        /// Name of a field that gets the file's path.
        path_key "Path_Key": Opt<Text>,
        /// Name of a field that gets the line's offset in the file.
        offset_key "Offset_Key": Opt<Text>,
        /// Leaves files alone that nobody wrote to for so long; 0 reads all.
        ignore_older "Ignore_Older": One<Seconds> = "0",
        /// Stops reading a file too when it becomes older than `Ignore_Older`.
        ignore_active_older_files "Ignore_Active_Older_Files": One<Bool> = "false",
        /// Bytes to read from a file at once.
        buffer_chunk_size "Buffer_Chunk_Size": One<Size> = "32768" => NoEffect("blocks are of 256 KiB, which suits the processor's cache"),
        /// The longest line and its newline; a longer one is cut, or skipped with `Skip_Long_Lines`.
        buffer_max_size "Buffer_Max_Size": One<Size> = "32768",
        /// Bytes to read from existing files before others get their turn.
        static_batch_size "Static_Batch_Size": One<Size> = "50M" => NoEffect("files are read in turns, one block at a time"),
        /// Bytes to read from growing files before others get their turn.
        event_batch_size "Event_Batch_Size": One<Size> = "50M" => NoEffect("files are read in turns, one block at a time"),
        /// Skips a line that is too long instead of cutting it.
        skip_long_lines "Skip_Long_Lines": One<Bool> = "false",
        /// Cuts a line that is too long; it does so anyway, and wins over `Skip_Long_Lines`.
        truncate_long_lines "Truncate_Long_Lines": One<Bool> = "false",
        /// Ends the program when all files are read to their end.
        exit_on_eof "Exit_On_Eof": One<Bool> = "false",
        /// Leaves empty lines out.
        skip_empty_lines "Skip_Empty_Lines": One<Bool> = "false",
        /// Tells the kernel that what was read need not stay in its cache.
        file_cache_advise "File_Cache_Advise": One<Bool> = "true",
        /// Lets the kernel tell of changes; without it, files are looked at every `Progress_Check_Interval`.
        inotify_watcher "Inotify_Watcher": One<Bool> = "true",
        /// Parser of the lines.
        parser "Parser": Opt<Text>,
        /// Regular expression over the path; its named groups replace `<name>` in `Tag`.
        tag_regex "Tag_Regex": Opt<Text>,
        /// SQLite file that remembers what was delivered.
        db "DB": Opt<Text>,
        /// How hard the `DB` syncs to the disk.
        db_sync "DB.Sync": One<Sync> = "normal",
        /// Keeps others from opening the `DB`.
        db_locking "DB.Locking": One<Bool> = "false",
        /// Journal mode of the `DB`.
        db_journal_mode "DB.Journal_Mode": One<Journal> = "WAL",
        /// Takes a row of the `DB` for a file only when the name fits as well as the inode.
        db_compare_filename "DB.Compare_Filename": One<Bool> = "false",
        /// Joins lines to records by `Parser_Firstline` and `Parser_N`.
        multiline "Multiline": One<Bool> = "false",
        /// How long a multi-line record waits for its next line.
        multiline_flush "Multiline_Flush": One<Seconds> = "4",
        /// Parser that recognises the first line of a multi-line record.
        parser_firstline "Parser_Firstline": Opt<Text>,
        /// Further parsers of multi-line records: `Parser_1`, `Parser_2`, ….
        parser_n "Parser_*": Many<Text>,
        /// Multi-line parsers, with commas between them: docker, cri, go, java, python, ruby, or one's own.
        multiline_parser "Multiline.Parser": Many<List>,
        /// Encoding of UTF-16 files: UTF-16LE, UTF-16BE, or auto (what each file begins with tells).
        unicode_encoding "Unicode.Encoding": Opt<Text>,
        /// Encoding of files: ShiftJIS, UHC, GBK, GB18030, Big5, Win866, Win874, Win1250 to Win1256.
        generic_encoding "Generic.Encoding": Opt<Text>,
    }
}
