#!/usr/bin/perl
# Prints a linker script: the functions that ran at a start, then the others that ran.
#   order-code.pl MAP START... USE     the map of the link, by lld, and profiles by callgrind
# A pattern stands for all functions of a module or type where most of them ran, so that the script is short and stays right
# when the code changes. A function of which most instances did not run is named by its hash.
use strict;
use warnings;

# A line of the script may be saved by so many bytes of code that did not run.
my $worth = 2000;

my ($map, @profiles) = @ARGV;
my @sections;
open my $lines, '<', $map or die "$map: $!\n";
while (<$lines>) {
    my ($at, $size, $name) = /^\s*([0-9a-f]+)\s+[0-9a-f]+\s+([0-9a-f]+)\s+\d+\s+\S+:\((\.text\.\S+)\)$/ or next;
    push @sections, {at => hex $at, size => hex $size, name => $name} if hex $size;
}
close $lines;
@sections = sort { $a->{at} <=> $b->{at} } @sections;

for my $number (0 .. $#profiles) {
    my $profile = $profiles[$number];
    my $when = $number < $#profiles ? 'start' : 'use';
    open my $costs, '<', $profile or die "$profile: $!\n";
    my $at = 0;
    my %seen;
    while (<$costs>) {
        if (/^0x([0-9a-f]+) /) { $at = hex $1 }
        elsif (/^([+-]\d+) /)  { $at += $1 }
        elsif (!/^\* /)        { next }
        next if $seen{$at}++;
        my ($low, $high) = (0, $#sections);
        while ($low < $high) {
            my $middle = int(($low + $high + 1) / 2);
            if ($sections[$middle]{at} <= $at) { $low = $middle } else { $high = $middle - 1 }
        }
        my $section = $sections[$low];
        $section->{runs} //= $when if $at >= $section->{at} && $at < $section->{at} + $section->{size};
    }
    close $costs;
}

my %said;
print "/* Written by scripts/order-code: the code that runs at a start, then the code that deploys an Application. */\n";
print "SECTIONS\n{\n";
for my $when ('start', 'use') {
    print "  .text.$when :\n  {\n", (map { "    *($_)\n" } grep { !$said{$_}++ } names($when)), "  }\n";
}
print "}\nINSERT BEFORE .text;\n";
for my $when ('start', 'use') {
    my ($size, $count) = (0, 0);
    for (grep { ($_->{runs} // '') eq $when } @sections) { $size += $_->{size}; $count++ }
    print STDERR "$when: $count functions of $size bytes\n";
}
print STDERR scalar(keys %said), " patterns\n";

# The patterns for the sections that run at that time first.
sub names {
    my ($when) = @_;
    # The names as a tree of their parts: `_ZN`, parts that begin with their lengths, `17h`, a hash.
    my ($root, @others) = ({});
    for my $section (@sections) {
        my $runs = ($section->{runs} // '') eq $when;
        # What runs at the start is taken already.
        next if !$runs && $section->{runs} && $section->{runs} eq 'start';
        my $rest = $section->{name};
        my @parts;
        if ($rest =~ s/^(\.text\._ZN)//) {
            push @parts, $1;
            while ($rest =~ /^(\d+)/ && $rest !~ /^17h[0-9a-f]{16}E/) {
                push @parts, substr $rest, 0, length($1) + $1, '';
            }
        }
        if (!@parts || $rest !~ /^17h/) {
            push @others, $section->{name} if $runs;
            next;
        }
        my $node = $root;
        for my $part (@parts) {
            $node = $node->{parts}{$part} //= {idle => 0, running => 0};
            $node->{$runs ? 'running' : 'idle'} += $section->{size};
        }
        push @{$node->{functions}}, {%$section, runs => $runs};
    }
    # The names of the standard library have the hash of a crate in their middle.
    s/(?<=Cs)[0-9A-Za-z]+_/*_/g for @others;
    my (undef, @found) = patterns($root, '');
    return (@found, @others);
}

# What a node costs in one script, and the patterns for what runs below it.
sub patterns {
    my ($node, $prefix) = @_;
    my ($cost, @found) = (0);
    my $functions = $node->{functions} // [];
    my @running = grep { $_->{runs} } @$functions;
    if (@running) {
        my $idle = 0;
        $idle += $_->{size} for grep { !$_->{runs} } @$functions;
        if ($idle + $worth <= $worth * @running) {
            $cost += $idle + $worth;
            push @found, $prefix . '17h*';
        } else {
            $cost += $worth * @running;
            # The hash alone is unique: the beginning of the name is there for the linker, which compares it faster.
            push @found, map { $_->{name} =~ s/^(\.text\._ZN\d+.{6}).*(17h[0-9a-f]{16}E).*$/$1*$2*/r } @running;
        }
    }
    for my $part (sort keys %{$node->{parts}}) {
        my $below = $node->{parts}{$part};
        next unless $below->{running};
        my ($more, @patterns) = patterns($below, $prefix . $part);
        $cost += $more;
        push @found, @patterns;
    }
    if ($prefix =~ /_ZN./ && $node->{idle} + $worth <= $cost) {
        return ($node->{idle} + $worth, $prefix . '*');
    }
    return ($cost, @found);
}
